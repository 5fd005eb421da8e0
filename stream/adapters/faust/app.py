"""The engine as a Faust agent, for teams that run Faust.

    faust -A stream.adapters.faust.app:app worker -l warn --without-web

The same driver, journal, snapshots and output as of a plain worker; Faust brings the records and
keeps its group's offsets. One worker: its agent has `concurrency=1`, takes raw bytes, acknowledges
last, and lets no exception out, after which Faust would go on with the next record: trouble is
waited out inside the driver, and when it lasts, or at anything unexpected, the process ends with
code 70 and nothing is acknowledged.

Importing this is harmless; `app` is made when it is asked for, since Faust's import reads the
command line.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError, StateError
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import TopicPartition
from ...worker.driver import Driver
from ..process.garbage import rare_collections
from .group import LoneGroup
from .source import Event, FaustSource

LOGGER: Final = logging.getLogger("claimtrace.faust")
FAILED: Final = 70
"""The exit code of a worker that gave up: a supervisor starts it again, nothing was skipped."""

_SHORTEST_S, _LONGEST_S = 0.005, 0.05
"""How long records are collected for a batch: twice as long as the last batch took."""

_REPORT_EVERY_S: Final = 1.0
_STDERR: Final = 2
"""Faust puts its log in the place of `sys.stderr`, which has no file."""


Opened = tuple[Driver, FaustSource, LoneGroup]


@dataclass
class Parts:
    """What a worker is put together from; `open_all` is called once, before Faust joins its group.

    Args:
        connection: brokers and security.
        batch_records: records of one batch at the most.
        topics: the inputs.
        folder: for what Faust wants to write.
        clock: for lingering.
        open_all: recovers, and gives driver, source and group; what it opens goes on the stack; it
            is given the question whether somebody asked to stop.
        give_up_s: trouble that lasts longer than this ends the process.
    """

    connection: KafkaConnection
    batch_records: int
    topics: list[str]
    folder: Path
    clock: Clock
    open_all: Callable[[ExitStack, Callable[[], bool]], Opened]
    give_up_s: float = 60.0


@dataclass
class Work:
    """The driver between Faust's calls. All of it runs in the loop's thread, one after another."""

    parts: Parts
    driver: Driver
    source: FaustSource
    group: LoneGroup
    opened: ExitStack
    watchdog: Watchdog
    is_over: bool = False
    _collected: int = 0
    _since_s: float = 0.0
    _took_s: float = 0.0
    _reported_s: float = 0.0

    def take(self, event: Event) -> None:
        """Collect an event; a full batch goes at once."""
        if self.is_over:
            return
        if not self._collected:
            self._since_s = self.parts.clock.monotonic_s()
        self.source.take(event)
        self._collected += 1
        if self._collected >= self.parts.batch_records:
            self.step()

    def tick(self) -> None:
        """Step when what was collected has waited long enough; with nothing, do what is due."""
        now_s = self.parts.clock.monotonic_s()
        linger_s = min(max(2 * self._took_s, _SHORTEST_S), _LONGEST_S)
        if not self.is_over and now_s - self._since_s >= linger_s:
            self.step()

    def step(self) -> int:
        """One batch through the driver, and what the commit covers acknowledged."""
        clock = self.parts.clock
        from_s = clock.monotonic_s()
        with self.watchdog.watching():
            taken = self.driver.step(self.parts.batch_records)
        self._collected = 0
        self.source.acknowledge(self.group.committed)
        self._since_s = clock.monotonic_s()
        self._took_s = self._since_s - from_s
        if from_s - self._reported_s > _REPORT_EVERY_S:
            self.source.report(self.driver.engine.positions)
            self._reported_s = from_s
        return taken

    def finish(self) -> None:
        """Write down all that waits; no step comes after this."""
        if self.is_over:
            return
        self.is_over = True
        with self.watchdog.watching():
            self.driver.finish()
        self.source.acknowledge(self.group.committed)


class Watchdog:
    """Ends the process when a piece of work takes too long, whatever it hangs on.

    Args:
        limit_s: how long a piece may take.
        clock: to measure it.
        end: called then, in a thread of its own.
    """

    def __init__(self, limit_s: float, clock: Clock, end: Callable[[str], None]) -> None:
        self._limit_s, self._clock, self._end = limit_s, clock, end
        self._since_s: float | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of a piece of work."""
        self._since_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._since_s = None

    def _watch(self) -> None:
        while True:
            self._clock.sleep(min(self._limit_s / 10, 1.0))
            since_s = self._since_s
            if since_s is not None and self._clock.monotonic_s() - since_s > self._limit_s:
                self._end(f"no step forward for {self._limit_s:g} s")


def give_up(error: BaseException | str) -> None:
    """End the process at once: nothing more is acknowledged, the next one starts from the journal.

    The group is not left in order either: `leave` would let Faust commit.
    """
    try:
        if isinstance(error, ClaimtraceError):
            LOGGER.critical("stopped: %s", error, exc_info=error)
        elif isinstance(error, BaseException):
            LOGGER.critical("stopped by a fault of ours: %r", error, exc_info=error)
        else:
            LOGGER.critical("stopped: %s", error)
            faulthandler.dump_traceback(_STDERR)
    finally:
        os._exit(FAILED)


@contextmanager
def fatal() -> Iterator[None]:
    """Whatever is raised inside ends the process, before Faust can take it for one bad record."""
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        give_up(error)


class Signals:
    """SIGTERM and Ctrl-C, seen while the loop is held up too.

    The loop still gets them: it reads them from a pipe that Python writes to in any case.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._is_recovering = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def recovered(self) -> None:
        """From now on the end is an orderly one."""
        self._is_recovering = False

    def _take(self, *_: object) -> None:
        self.is_asked = True
        if self._is_recovering:  # it has changed nothing
            os._exit(0)


def make_app(parts: Parts) -> Any:
    """The Faust app: one agent over all inputs.

    Raises:
        ConfigError: a setting would lose records, or the extra isn't installed whole.
    """
    import faust

    from .client import CommittedTransport, app_settings

    class App(faust.App):  # type: ignore[misc]
        """Recovers before its consumer joins the group; finishes before it leaves."""

        work: Work

        async def on_first_start(self) -> None:
            with fatal():
                self.work = _begin(parts, self)
            await super().on_first_start()

        async def on_stop(self) -> None:
            work: Work | None = getattr(self, "work", None)  # none: it didn't come so far
            with fatal():
                if work is not None:
                    work.finish()
                    await self.consumer.commit()
            await super().on_stop()
            with fatal():
                if work is not None:
                    work.opened.close()

    class Boot(faust.App.BootStrategy):  # type: ignore[misc]
        """No web server, whatever the command line says."""

        enable_web = False

    App.BootStrategy = Boot
    made = App(**app_settings(parts.connection), datadir=str(parts.folder))
    made.transport = CommittedTransport(made.conf.broker_consumer, made)
    topic = made.topic(*parts.topics, key_type=bytes, value_type=bytes)

    @made.agent(topic, concurrency=1, name="claimtrace")
    async def decide(claims: Any) -> None:
        """Collect what Faust delivers."""
        with fatal():
            async for event in claims.noack().events():
                made.work.take(event)

    @made.task
    async def tend() -> None:
        """Step and commit while nothing comes, too."""
        with fatal():
            while not made.should_stop:
                await asyncio.sleep(_SHORTEST_S)
                made.work.tick()

    @made.on_partitions_assigned.connect
    async def on_assigned(_: Any, assigned: Any, **__: Any) -> None:
        """One worker has all partitions; of two, the one without the first of them goes."""
        with fatal():
            topic_partitions = {(each.topic, each.partition) for each in assigned}
            _stay_only_if_first(topic_partitions, made.work)

    return made


def _begin(parts: Parts, app: Any) -> Work:
    from faust.types import TP

    opened, signals = ExitStack(), Signals()
    watchdog = Watchdog(parts.give_up_s, parts.clock, give_up)
    driver, source, group = parts.open_all(opened, lambda: signals.is_asked)
    signals.recovered()

    def end_of(topic_partition: TopicPartition) -> int | None:
        try:
            end: int | None = app.consumer.highwater(TP(*topic_partition))
        except AssertionError:  # it isn't ours now; the group may be shared out anew at any time
            return None
        return end

    source.end_of = end_of
    opened.enter_context(rare_collections())
    return Work(parts, driver, source, group, opened, watchdog)


def _stay_only_if_first(assigned: set[TopicPartition], work: Work) -> None:
    """Two that started at once give each other half of the partitions: harmless, but no use.

    Raises:
        StateError: the other one has the first partition, so this one goes.
    """
    inputs = sorted(
        topic_partition
        for topic_partition in work.group.topic_partitions()
        if topic_partition[0] in work.parts.topics
    )
    missing = [topic_partition for topic_partition in inputs if topic_partition not in assigned]
    if missing and missing[0] == inputs[0]:
        raise StateError("another Faust worker has the first partition", where="faust",
                         hint="run one, or `claimtrace stream` on several machines")  # fmt: skip
    if missing:
        LOGGER.warning("another Faust worker has %d partitions; it goes by itself", len(missing))
