"""The engine as a Faust agent, for teams that run Faust.

    faust -A cli.transports.faust:app worker -l warn --without-web

Driver, journal, snapshots and output are those of a plain worker; Faust delivers the records and
keeps its group's offsets. There is one worker. Its agent has `concurrency=1`, takes raw bytes,
acknowledges last, and lets no exception out, after which Faust would continue with the next record:
the driver retries while a store or broker doesn't answer, and when that lasts too long, or at any
unexpected error, the process ends with exit code 70 and acknowledges nothing.

`make_app` imports Faust, and only then: Faust's import reads the command line.
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
from .group import SingleWorkerGroup
from .source import Event, FaustSource

LOGGER: Final = logging.getLogger("claimtrace.faust")
FAILED: Final = 70
"""The exit code of a worker that gave up: a supervisor starts it again; no record was skipped."""

_SHORTEST_S, _LONGEST_S = 0.005, 0.05
"""Bounds of the linger time, for which records are collected: twice the time of the last batch."""

_REPORT_EVERY_S: Final = 1.0
_STDERR: Final = 2
"""The file descriptor: Faust replaces `sys.stderr` by its log, which has none."""


RecoveredDriver = tuple[Driver, FaustSource, SingleWorkerGroup]


@dataclass
class AppParts:
    """The parts that the app is made of.

    Args:
        connection: brokers and security.
        batch_records: records of one batch at the most.
        topics: the input topics.
        folder: where Faust keeps its files.
        clock: for the linger time.
        open_driver: called once, before Faust joins its group; recovers a driver and returns it
            with its source and group. What it opens goes on the stack that it is given; its second
            argument returns whether a stop was requested.
        give_up_s: a step that takes longer than this many seconds ends the process.
    """

    connection: KafkaConnection
    batch_records: int
    topics: list[str]
    folder: Path
    clock: Clock
    open_driver: Callable[[ExitStack, Callable[[], bool]], RecoveredDriver]
    give_up_s: float = 60.0


@dataclass
class AgentDriver:
    """The driver as Faust's agent and timer call it.

    All calls run in the event loop's thread, one after another, and block it: Faust delivers no
    further record during a batch.
    """

    parts: AppParts
    driver: Driver
    source: FaustSource
    group: SingleWorkerGroup
    opened: ExitStack
    watchdog: Watchdog
    is_finished: bool = False
    _collected: int = 0
    _since_s: float = 0.0
    _took_s: float = 0.0
    _reported_s: float = 0.0

    def collect(self, event: Event) -> None:
        """Collect an event for the next batch; a full batch is taken at once."""
        if self.is_finished:
            return
        if not self._collected:
            self._since_s = self.parts.clock.monotonic_s()
        self.source.collect(event)
        self._collected += 1
        if self._collected >= self.parts.batch_records:
            self.step()

    def tick(self) -> None:
        """Take a batch once the linger time is over; without records the step runs what is due."""
        now_s = self.parts.clock.monotonic_s()
        linger_s = min(max(2 * self._took_s, _SHORTEST_S), _LONGEST_S)
        if not self.is_finished and now_s - self._since_s >= linger_s:
            self.step()

    def step(self) -> int:
        """Take one batch, and acknowledge the events that the last commit covers.

        Returns the number of records in the batch.
        """
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
        """Flush and commit everything; no step follows."""
        if self.is_finished:
            return
        self.is_finished = True
        with self.watchdog.watching():
            self.driver.finish()
        self.source.acknowledge(self.group.committed)


class Watchdog:
    """Ends the process when a piece of work takes too long, even in a call that never returns.

    Args:
        limit_s: the longest time that a piece may take, in seconds.
        clock: measures the time.
        end: called with the reason when a piece takes longer, in the watchdog's own thread.
    """

    def __init__(self, limit_s: float, clock: Clock, end: Callable[[str], None]) -> None:
        self._limit_s, self._clock, self._end = limit_s, clock, end
        self._since_s: float | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch a piece of work: the body of the `with` statement."""
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
    """End the process at once; the next one starts from the journal, as nothing is acknowledged.

    The group isn't left in an orderly way either: leaving would make Faust commit.
    """
    try:
        if isinstance(error, ClaimtraceError):
            LOGGER.critical("stopped: %s", error, exc_info=error)
        elif isinstance(error, BaseException):
            LOGGER.critical("stopped by an unexpected error: %r", error, exc_info=error)
        else:
            LOGGER.critical("stopped: %s", error)
            faulthandler.dump_traceback(_STDERR)
    finally:
        os._exit(FAILED)


@contextmanager
def fatal() -> Iterator[None]:
    """End the process at any exception, before Faust can take it for one bad record."""
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        give_up(error)


class StopSignals:
    """SIGTERM and Ctrl-C, noticed even while a step blocks the event loop.

    The loop gets the signals too: it reads them from a pipe that Python writes to in any case.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._is_recovering = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def end_recovery(self) -> None:
        """Stop in an orderly way from now on, instead of at once."""
        self._is_recovering = False

    def _handle(self, *_: object) -> None:
        self.is_requested = True
        if self._is_recovering:  # recovery has changed nothing outside of this process
            os._exit(0)


def make_app(parts: AppParts) -> Any:
    """Make the Faust app: one agent over all inputs.

    Raises:
        ConfigError: a setting would lose records, or a part of the extra isn't installed.
    """
    import faust

    from .client import CommittedTransport, app_settings

    class App(faust.App):  # type: ignore[misc]
        """Recovers before its consumer joins the group; finishes before it leaves."""

        agent_driver: AgentDriver

        async def on_first_start(self) -> None:
            with fatal():
                self.agent_driver = await _recovered_driver(parts, self)
            await super().on_first_start()

        async def on_stop(self) -> None:
            # None when the start failed before the driver had recovered
            agent_driver: AgentDriver | None = getattr(self, "agent_driver", None)
            with fatal():
                if agent_driver is not None:
                    agent_driver.finish()
                    await self.consumer.commit()  # before the consumer leaves the group
            await super().on_stop()
            with fatal():
                if agent_driver is not None:
                    agent_driver.opened.close()

    class Boot(faust.App.BootStrategy):  # type: ignore[misc]
        """Starts no web server, whatever the command line says."""

        enable_web = False

    App.BootStrategy = Boot
    made = App(**app_settings(parts.connection), datadir=str(parts.folder))
    made.transport = CommittedTransport(made.conf.broker_consumer, made)
    topic = made.topic(*parts.topics, key_type=bytes, value_type=bytes)

    @made.agent(topic, concurrency=1, name="claimtrace")
    async def decide(claims: Any) -> None:
        """Collect the events that Faust delivers."""
        with fatal():
            async for event in claims.noack().events():
                made.agent_driver.collect(event)

    @made.task
    async def run_timer() -> None:
        """Take batches and run due work, with or without new events."""
        with fatal():
            while not made.should_stop:
                await asyncio.sleep(_SHORTEST_S)
                made.agent_driver.tick()

    @made.on_partitions_assigned.connect
    async def on_assigned(_: Any, assigned: Any, **__: Any) -> None:
        """Check that this worker has all partitions, or that the other worker will stop."""
        with fatal():
            topic_partitions = {(each.topic, each.partition) for each in assigned}
            _stop_unless_first(topic_partitions, made.agent_driver)

    return made


async def _recovered_driver(parts: AppParts, app: Any) -> AgentDriver:
    from faust.types import TP

    opened, signals = ExitStack(), StopSignals()
    # in a thread, so that a signal is noticed while a broker doesn't answer
    recovered = asyncio.to_thread(parts.open_driver, opened, lambda: signals.is_requested)
    driver, source, group = await recovered
    signals.end_recovery()
    watchdog = Watchdog(parts.give_up_s, parts.clock, give_up)

    def end_of(topic_partition: TopicPartition) -> int | None:
        try:
            end: int | None = app.consumer.highwater(TP(*topic_partition))
        except AssertionError:  # not assigned to this worker now; a rebalance may be under way
            return None
        return end

    source.end_of = end_of
    opened.enter_context(rare_collections())
    return AgentDriver(parts, driver, source, group, opened, watchdog)


def _stop_unless_first(assigned: set[TopicPartition], agent_driver: AgentDriver) -> None:
    """Stop this worker when another one has the first input partition.

    Faust splits the partitions between two workers that are started together: no record is lost by
    that, but nothing is gained either.

    Raises:
        StateError: another worker has the first partition, so this one stops.
    """
    inputs = sorted(
        topic_partition
        for topic_partition in agent_driver.group.topic_partitions()
        if topic_partition[0] in agent_driver.parts.topics
    )
    missing = [topic_partition for topic_partition in inputs if topic_partition not in assigned]
    if missing and missing[0] == inputs[0]:
        raise StateError("another Faust worker has the first partition", where="faust",
                         hint="run one, or `claimtrace stream` on several machines")  # fmt: skip
    if missing:
        LOGGER.warning("another Faust worker has %d partitions; it will stop", len(missing))
