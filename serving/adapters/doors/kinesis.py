"""Kinesis as doors use it: claims are put on their stream, decisions are polled for."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from claimtrace.adapters.kinesis.stream import describe, stream_name
from claimtrace.clock import Clock
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import KinesisConnection
from producers.adapters.kinesis import KinesisSink
from stream.adapters.kinesis.polling import KinesisReads, ReadRequest, ShardPage

from ...doors.waiting import Place
from .kinesis_copy import KinesisCopy, Reached

TOPICS: Final = (DECISIONS_TOPIC, DEAD_TOPIC)
NOWHERE: Final = Place(-1, -1)
"""A stream doesn't tell a writer the position that readers will give a record."""
_PAGE: Final = 2_000
_READ_EVERY_S: Final = 0.2
"""A shard allows five reads a second, to all of its readers together."""
_LONGEST_PAUSE_S: Final = 3.0
_LIST_EVERY_S: Final = 10.0
_THREADS: Final = 8
_DEADLINE_S: Final = 5.0

TopicShard = tuple[str, int]


class KinesisWriter:
    """Puts claims on a stream; of one thread.

    Args:
        connection: stream names, endpoint.
        clock: for deadlines.
        client: of boto3; None: one made from the settings.
    """

    def __init__(self, connection: KinesisConnection, clock: Clock, client: Any = None) -> None:
        self._sink = KinesisSink(connection, clock, client)

    def write(self, records: Sequence[Outgoing]) -> list[Place]:
        """Put records on the stream, and wait until it has them; where they are isn't told.

        Raises:
            StoreUnavailable: not in time; the stream may or may not have them.
            ConfigError: the stream, or a right to it, isn't there.
        """
        self._sink.send(records)
        self._sink.flush(_DEADLINE_S)
        return [NOWHERE] * len(records)

    def close(self) -> None:
        """Close the connections."""
        self._sink.close()


class KinesisFeed:
    """Copies the streams of decisions and dead letters, and reads the copy.

    Of one thread, but for `wake`. An outage, or other readers of the same shards, only slow it.

    Args:
        connection: stream names.
        client: of boto3.
        path: the file of the copy.
        clock: for pauses.
    """

    def __init__(
        self, connection: KinesisConnection, client: Any, path: Path, clock: Clock
    ) -> None:
        self._reads, self._clock = KinesisReads(client), clock
        self._streams = {topic: stream_name(connection, topic) for topic in TOPICS}
        identities = {t: describe(client, name).identity for t, name in self._streams.items()}
        self._copy = KinesisCopy(path, identities)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="decisions-read")
        self._iterators: dict[TopicShard, str | None] = {}
        self._due_s: dict[TopicShard, float] = {}
        self._pause_s: dict[TopicShard, float] = {}
        self._at_end: set[TopicShard] = set()
        self._listed: set[TopicShard] = set()
        self._list_s = -_LIST_EVERY_S
        self._woken = threading.Event()

    def wake(self) -> None:
        """Read as soon as the shards allow: something was written in this process."""
        self._woken.set()

    def read(self, positions: Mapping[TopicShard, int], *, wait: bool) -> list[Record]:
        """Return records from positions on; those of a shard are in order.

        Args:
            positions: the next position of each topic and shard; 0 where there is none.
            wait: wait first until the shards may be read again, or longer until `wake`.
        """
        if wait:
            self._woken.wait(_READ_EVERY_S)
            due_s = min(self._due_s.values(), default=0.0)
            self._clock.sleep(min(max(0.0, due_s - self._clock.monotonic_s()), _READ_EVERY_S))
        self._woken.clear()
        self._poll()
        found: list[Record] = []
        for topic, shard in sorted(self._copy.reached):
            position = positions.get((topic, shard), 0)
            found += self._copy.read(topic, shard, position, _PAGE)
            if topic == DEAD_TOPIC and position:
                self._copy.forget(topic, shard, position)
        return found

    def ends(self) -> dict[TopicShard, int]:
        """Return the end of each shard, once everything that is on the streams is copied."""
        self._at_end.clear()
        while True:
            self._poll()
            if self._listed and self._open() <= self._at_end:
                return {each: reached.next for each, reached in self._copy.reached.items()}
            self._clock.sleep(_READ_EVERY_S / 4)

    def fetch(self, topic: str, partition: int, position: int, most: int = 1) -> list[Record]:
        """Return records from one position on."""
        return self._copy.read(topic, partition, position, most)

    def close(self) -> None:
        """Close the copy; returns when no read is under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._copy.close()

    def _open(self) -> set[TopicShard]:
        """Return the shards that may get records."""
        ended = {each for each, reached in self._copy.reached.items() if reached.has_ended}
        return self._listed - ended

    def _poll(self) -> None:
        """Read one page of each shard that may be read again."""
        now_s = self._clock.monotonic_s()
        if now_s - self._list_s >= _LIST_EVERY_S:
            self._list(now_s)
        due = [each for each in sorted(self._open()) if self._due_s.get(each, 0.0) <= now_s]
        for each, page in zip(due, self._pool.map(self._page, due), strict=True):
            if page is None or page.is_throttled:
                pause_s = min(2 * self._pause_s.get(each, _READ_EVERY_S), _LONGEST_PAUSE_S)
                self._pause_s[each], self._due_s[each] = pause_s, now_s + pause_s
                continue
            self._pause_s[each], self._due_s[each] = _READ_EVERY_S, now_s + _READ_EVERY_S
            self._copy.add(*each, page)
            self._iterators[each] = page.iterator
            if page.iterator is None:
                self._list_s = now_s - _LIST_EVERY_S  # it has children
            elif not page.behind_ms:
                self._at_end.add(each)

    def _list(self, now_s: float) -> None:
        try:
            found = {
                (topic, shard.number)
                for topic, name in self._streams.items()
                for shard in self._reads.shards(name)
            }
        except StoreUnavailable:
            self._list_s = now_s - _LIST_EVERY_S + _READ_EVERY_S  # asked again soon
            return
        self._listed, self._list_s = found, now_s

    def _page(self, each: TopicShard) -> ShardPage | None:
        """Read a page, in a thread of the pool; None for an outage."""
        reached = self._copy.reached.get(each, Reached())
        request = ReadRequest(self._streams[each[0]], each[1], self._iterators.get(each),
                              reached.sequence, bool(reached.sequence))  # fmt: skip
        try:
            return self._reads.read(request)
        except StoreUnavailable:
            return None
