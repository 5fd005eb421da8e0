"""Claims onto the log, by a thread that commits all that wait in one go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from claimtrace.events import Outgoing

from ...doors.waiting import Place
from ..looks.desk import NoAnswer, TooManyWaiting


class Writer(Protocol):
    """A log as far as it is written; of one thread."""

    def write(self, records: Sequence[Outgoing]) -> list[Place]:
        """Append records, durably; returns where each is."""

    def close(self) -> None:
        """Close the client."""


class _Put(NamedTuple):
    record: Outgoing
    placed: Callable[[Place], None]
    future: asyncio.Future[Place]
    loop: asyncio.AbstractEventLoop


class Putting:
    """Puts claims on the log: those that come while a commit is under way are the next one.

    Args:
        open_writer: opens the log; called by the thread.
        most: claims that may wait to be put.
        wrote: called after each commit; wakes the worker of this process.
    """

    def __init__(
        self, open_writer: Callable[[], Writer], most: int, wrote: Callable[[], None]
    ) -> None:
        self._open_writer, self._most, self._wrote = open_writer, most, wrote
        self._writer: Writer | None = None
        self._waiting: list[_Put] = []
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="claims", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    async def put(self, record: Outgoing, placed: Callable[[Place], None]) -> Place:
        """Put a record on the log; returns when it is durable.

        Args:
            record: the claim.
            placed: told where it is, in the event loop, before anybody can have read it there.

        Raises:
            StoreUnavailable: the log can't be written; it may or may not have the record.
            TooManyWaiting, NoAnswer: it was not put.
        """
        loop = asyncio.get_running_loop()
        put = _Put(record, placed, loop.create_future(), loop)
        with self._changed:
            if not self._is_open:
                raise NoAnswer("the server ends")
            if len(self._waiting) >= self._most:
                raise TooManyWaiting
            self._waiting.append(put)
            self._changed.notify()
        return await put.future

    def close(self) -> None:
        """Put what waits, and end."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                batch, self._waiting = self._waiting, []
                if not batch:
                    break
            try:
                if self._writer is None:
                    self._writer = self._open_writer()
                places = self._writer.write([each.record for each in batch])
            except Exception as error:  # whoever waits must hear of it
                for each in batch:
                    each.loop.call_soon_threadsafe(_fail, each.future, error)
                continue
            for each, place in zip(batch, places, strict=True):
                each.loop.call_soon_threadsafe(_done, each, place)
            self._wrote()
        if self._writer is not None:
            self._writer.close()


def _done(put: _Put, place: Place) -> None:
    put.placed(place)
    if not put.future.done():
        put.future.set_result(place)


def _fail(future: asyncio.Future[Place], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
