"""The desk between the event loop, where requests wait, and the thread that owns the engine.

The loop goes on reading sockets while a batch runs; all that have come by its end are the next
batch. Answers of a batch go back to the loop in one call, as each call would wake it up.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ...looks.queue import LookQueue, Waiting

RECORDS_BESIDE: Final = 250
"""Records of a plan at the most, while looks wait: about 5 ms until they are answered."""

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class TooManyWaiting(Exception):
    """No room to wait in: the caller comes again later."""


class NoAnswer(Exception):
    """Nobody answers: the engine is at work on something else for too long, or has ended."""


class _Asked(NamedTuple):
    """A request and the future that its handler awaits."""

    ask: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class LookDesk(Generic[Ask, Answer]):
    """Requests from event loops to the one thread that may read the engine.

    Args:
        most: claims that may wait.
        timeout_s: a request that waits for longer gets `NoAnswer`.
        wake: called after each request; ends the sleep of an idle worker.
    """

    def __init__(
        self, most: int, timeout_s: float, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._queue = LookQueue[_Asked](most)
        self._questions: deque[tuple[Callable[[Any], Any], _Asked]] = deque()
        self._lock = threading.Lock()
        self._timeout_s, self.wake = timeout_s, wake
        self._most = most
        self._is_open = True
        self._was_asked = False

    async def ask(self, ask: Ask, claims: int, model: object = None) -> Answer:
        """Wait for the answer to a request.

        Args:
            ask: handed to the engine's thread as it is.
            claims: how many claims it has.
            model: what they are scored with; a batch has one model.

        Raises:
            TooManyWaiting: the request doesn't wait.
            NoAnswer: none came in time.
        """
        asked = _asked(ask)
        with self._lock:
            taken = self._is_open and self._queue.put(Waiting(asked, claims, model))
        found: Answer = await self._answer_to(asked, taken)
        return found

    async def question(self, work: Callable[[Any], Answer]) -> Answer:
        """Wait for what `work` returns of the engine; it must be quick, and change nothing.

        Raises:
            TooManyWaiting, NoAnswer: as `ask`.
        """
        asked = _asked(None)
        with self._lock:
            taken = self._is_open and len(self._questions) < self._most
            if taken:
                self._questions.append((work, asked))
        found: Answer = await self._answer_to(asked, taken)
        return found

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits now."""
        return bool(self._queue) or bool(self._questions)

    def limit(self, records: int) -> int:
        """Return how many of `records` the next plan may have: few, while people ask for looks."""
        return min(records, RECORDS_BESIDE) if self._was_asked or self.is_waited_for else records

    def serve(self, look: Callable[[list[Ask]], Sequence[Answer]], engine: Any = None) -> int:
        """Answer one batch of looks, and the questions that wait, on the engine's thread.

        Args:
            look: returns an answer for each request; an exception in its place is raised at the
                one who asked. What it raises itself is raised at all of them.
            engine: handed to questions.

        Returns how many requests were answered.
        """
        with self._lock:
            batch = self._queue.take()
            questions = list(self._questions)
            self._questions.clear()
        self._was_asked = bool(batch)
        answers: list[Any] = []
        if batch:
            try:
                answers = list(look([each.ask for each in batch]))
                assert len(answers) == len(batch), "an answer for each request"
            except Exception as error:  # whoever asked must hear of it, or would wait in vain
                answers = [error] * len(batch)
        for work, asked in questions:
            batch.append(asked)
            try:
                answers.append(work(engine))
            except Exception as error:
                answers.append(error)
        _deliver(batch, answers)
        return len(batch)

    def close(self) -> None:
        """Refuse whoever waits, and whoever comes: the engine's thread has ended."""
        with self._lock:
            self._is_open = False
            left = [*self._queue.discard(), *(asked for _, asked in self._questions)]
            self._questions.clear()
        _deliver(left, [NoAnswer("the worker has ended")] * len(left))

    async def _answer_to(self, asked: _Asked, taken: bool) -> Any:
        if not taken:
            if not self._is_open:
                raise NoAnswer("the worker has ended")
            raise TooManyWaiting
        self.wake()
        waiting = asked.loop.call_later(self._timeout_s, _expire, asked.future)
        try:
            return await asked.future
        finally:
            waiting.cancel()


def _asked(ask: Any) -> _Asked:
    loop = asyncio.get_running_loop()
    return _Asked(ask, loop.create_future(), loop)


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(NoAnswer("no answer came in time"))


def _deliver(batch: Sequence[_Asked], answers: Sequence[Any]) -> None:
    """Hand the answers of a batch to the loops that wait for them, by one call each."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for asked, answer in zip(batch, answers, strict=True):
        by_loop.setdefault(asked.loop, []).append((asked.future, answer))
    for loop, found in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, found)
        except RuntimeError:  # the loop has ended, and with it whoever waited
            continue


def _resolve(found: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in found:
        if future.done():  # its request was cancelled, or has waited too long
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
