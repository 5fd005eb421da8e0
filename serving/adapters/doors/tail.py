"""The end of the log, followed by a thread: decisions and dead letters as they fall.

The same thread answers where an earlier decision is, so that a log's client and the index have one
owner.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import ClaimtraceError
from claimtrace.events import Record

from .decision_index import DecisionIndex

_RETRY_S: Final = 1.0
"""Pause before a log that can't be read is opened again."""

Positions = dict[tuple[str, int], int]


class Feed(Protocol):
    """A log as far as it is followed."""

    def wake(self) -> None:
        """End a wait of `read`; from any thread."""

    def read(self, positions: Mapping[tuple[str, int], int], *, wait: bool) -> list[Record]:
        """Return the next records of the topics of decisions and dead letters."""

    def ends(self) -> Positions:
        """Return the end of each partition as of now."""

    def fetch(self, topic: str, partition: int, position: int, most: int = 1) -> list[Record]:
        """Return records from one position on."""

    def close(self) -> None:
        """Close the client."""


class Tail:
    """Follows a log in a thread.

    Args:
        open_feed: opens the log; called by the thread.
        index: the file of the index.
        fell: called by the thread with the records that are new since it began, in order.
        tell: called with a line about trouble.
    """

    def __init__(
        self,
        open_feed: Callable[[], Feed],
        index: Path,
        fell: Callable[[list[Record]], None],
        tell: Callable[[str], None],
    ) -> None:
        self._open_feed, self._path, self._fell, self._tell = open_feed, index, fell, tell
        self._feed: Feed | None = None
        self._asked: deque[tuple[Callable[[Feed, DecisionIndex], Any], Future[Any]]] = deque()
        self._is_ending = threading.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether the index knows what was on the log when the thread began."""
        return self._is_ready.is_set()

    def wake(self) -> None:
        """Read at once: this process has written decisions."""
        feed = self._feed
        if feed is not None:
            feed.wake()

    def find(self, claim_id: str) -> Future[bytes | None]:
        """Return the sealed decision on a claim, None for none, when the thread has found it."""

        def work(feed: Feed, index: DecisionIndex) -> bytes | None:
            place = index.find(claim_id)
            records = [] if place is None else feed.fetch(DECISIONS_TOPIC, *place)
            return records[0].value if records else None

        return self._ask(work)

    def page(self, partition: int, position: int, most: int) -> Future[list[Record]]:
        """Return decisions of a partition from a position on."""
        return self._ask(lambda feed, _: feed.fetch(DECISIONS_TOPIC, partition, position, most))

    def close(self) -> None:
        """End the thread; whoever still asks is told."""
        self._is_ending.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join()

    def _ask(self, work: Callable[[Feed, DecisionIndex], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._asked.append((work, future))
        self.wake()
        return future

    def _run(self) -> None:
        told = ""
        try:
            with DecisionIndex(self._path) as index:
                while not self._is_ending.is_set():
                    try:
                        self._follow_opened(index)
                    except ClaimtraceError as error:
                        if str(error) != told:
                            told = str(error)
                            self._tell(f"decisions can't be read from the log: {told}")
                        self._is_ending.wait(_RETRY_S)
        finally:
            self._is_ending.set()
            self._refuse()

    def _follow_opened(self, index: DecisionIndex) -> None:
        feed = self._feed = self._open_feed()
        try:
            self._follow(feed, index)
        finally:
            self._feed = None
            feed.close()

    def _follow(self, feed: Feed, index: DecisionIndex) -> None:
        positions = index.positions()
        ends = feed.ends()
        if any(positions.get(each, 0) > end for each, end in ends.items()):
            index.clear()  # the log was replaced by a shorter one
            positions = {}
        caught_up = self.is_ready  # after an outage: what fell meanwhile is waited for
        while not self._is_ending.is_set():
            records = feed.read(positions, wait=caught_up and not self._asked)
            for each in records:
                positions[each.topic, each.partition] = each.position + 1
            if records:
                index.add([(r.topic, r.partition, r.position, r.value or b"") for r in records],
                          positions)  # fmt: skip
            if caught_up and records:
                self._fell(records)
            if not caught_up and all(positions.get(p, 0) >= end for p, end in ends.items()):
                caught_up = True
                self._is_ready.set()
            self._answer(feed, index)

    def _answer(self, feed: Feed, index: DecisionIndex) -> None:
        while self._asked:
            work, future = self._asked.popleft()
            if not future.set_running_or_notify_cancel():
                continue  # whoever asked has waited for too long
            try:
                future.set_result(work(feed, index))
            except Exception as error:
                future.set_exception(error)

    def _refuse(self) -> None:
        from ..looks.desk import NoAnswer

        while self._asked:
            future = self._asked.popleft()[1]
            if future.set_running_or_notify_cancel():
                future.set_exception(NoAnswer("the log isn't read any more"))
