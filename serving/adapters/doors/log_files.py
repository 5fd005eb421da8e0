"""The embedded log as doors use it: claims are appended, decisions are read as they fall."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.events import Outgoing, Record

from ...doors.waiting import Place

TOPICS: Final = (DECISIONS_TOPIC, DEAD_TOPIC)
PAGE: Final = 2_000
_POLL_S: Final = 0.05
"""How often a log is asked for decisions that another process wrote."""


class EmbeddedWriter:
    """Appends claims to an embedded log; of one thread.

    Args:
        path: the log's file; its topics exist.
    """

    def __init__(self, path: Path) -> None:
        self._log = EmbeddedLog(path, create=False)

    def write(self, records: Sequence[Outgoing]) -> list[Place]:
        """Append records in one commit; returns where each is.

        Raises:
            StoreUnavailable: the disk is full, or the file can't be written.
        """
        with self._log.transaction():
            ends = {topic: self._log.ends(topic) for topic, _ in groupby(r.topic for r in records)}
            self._log.append(records)
        places = []
        for record in records:
            of_topic = ends[record.topic]
            places.append(Place(record.partition, of_topic[record.partition]))
            of_topic[record.partition] += 1
        return places

    def close(self) -> None:
        """Close the log."""
        self._log.close()


class EmbeddedFeed:
    """Reads decisions and dead letters of an embedded log; of one thread, but for `wake`."""

    def __init__(self, path: Path) -> None:
        self._log = EmbeddedLog(path, create=False)
        self._woken = threading.Event()
        topics = self._log.topics()
        self.partitions = [(name, p) for name in TOPICS for p in range(topics.get(name, 0))]

    def wake(self) -> None:
        """Look at once: something was written in this process."""
        self._woken.set()

    def read(self, positions: Mapping[tuple[str, int], int], *, wait: bool) -> list[Record]:
        """Return records from positions on, page by page; a partition's are in order.

        Args:
            positions: the next position of each topic and partition; 0 where there is none.
            wait: wait for some time first, or until `wake`.
        """
        if wait:
            self._woken.wait(_POLL_S)
        self._woken.clear()
        found: list[Record] = []
        for each in self.partitions:
            found += self._log.read(*each, positions.get(each, 0), PAGE)
        return found

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the end of each partition as of now."""
        return {(topic, p): self._log.ends(topic)[p] for topic, p in self.partitions}

    def fetch(self, topic: str, partition: int, position: int, most: int = 1) -> list[Record]:
        """Return records from one position on."""
        return list(self._log.read(topic, partition, position, most))

    def close(self) -> None:
        """Close the log."""
        self._log.close()
