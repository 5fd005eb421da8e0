"""A ground for each transport: input records, workers that crash in process, and their results.

A new transport is a class here and a line in `TRANSPORTS`; the suite that runs over all of them is
`tests/contracts/test_transports.py`.

"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import OffsetSpec

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from claimtrace.editions import NEWEST
from claimtrace.errors import ClaimtraceError
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import KafkaSettings, Settings
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.offline.adapters.delta import OfflineStore
from stream.adapters.embedded.file_journal import FileJournal, read_plans
from stream.adapters.embedded.log import EmbeddedSource
from stream.adapters.kafka.group import KafkaGroup
from stream.adapters.kafka.journal import KafkaJournal
from stream.adapters.kafka.output import KafkaOutput
from stream.adapters.kafka.source import KafkaSource
from stream.adapters.snapshots.reached_file import ReachedFile
from stream.adapters.snapshots.snapshots import Snapshots
from stream.engine.engine import Engine
from stream.group.group import Group
from stream.journal.plan import Plan, TopicPartition
from stream.journal.source import Source
from stream.journal.terms import Terms
from stream.journal.upgrade import begin_edition
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Stores
from tests.oracles.expected import CHAMPION
from tests.servers.kafka import Cluster
from tests.servers.records import send
from tests.servers.topics import read_topic
from tests.worlds.kafka_topics_anew import make_anew
from tests.worlds.random_events import KEY
from tests.worlds.rollouts import SetRollouts, any_scorer_of, rollout_of
from tests.worlds.stream_folder import World, terms

PARTITIONS: Final = 3
GROUP_PARTITIONS: Final = len(DOMAIN.topics) * PARTITIONS + 1
"""The number of topic-partitions that a group assigns: those of the inputs, and the journal."""

OFFLINE_EVERY, SNAPSHOT_EVERY = 17, 30
Crashing = Callable[[str], None]
_PATIENCE_S: Final = 60.0
_numbers = count()


def engine_of(begun: Terms) -> Engine:
    """Make an engine without any state for a journal that was begun under these terms."""
    return Engine(DOMAIN, begun, KEY, any_scorer_of, rollout_of=rollout_of)


class RecordingObserver(WorkerObserver):
    """Records the rebalances of a worker (`gained`, `revoked`, `lost`), and whether it paused."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.was_not_ready = False

    def ready(self, is_ready: bool) -> None:
        self.was_not_ready |= not is_ready

    def rebalanced(self, kind: str, topic_partitions: object = ()) -> None:
        self.kinds.append(kind)


@dataclass
class Worker:
    """A worker in this process; `die` closes all clients and finishes nothing."""

    driver: Driver
    die: Callable[[], None]
    observer: RecordingObserver = field(default_factory=RecordingObserver)
    lines: list[str] = field(default_factory=list)

    @property
    def owned(self) -> int:
        """The number of topic-partitions that the worker decides on."""
        return len(self.driver._ownership._owned or ())

    def finish(self) -> None:
        """End the worker in an orderly way."""
        self.driver.finish()
        self.die()


class Ground(ABC):
    """The topics of a test, and everything else that outlives a worker."""

    once: ClassVar[bool]
    """Whether a reader sees each record of the outputs once, in spite of crashes."""

    has_group: ClassVar[bool]
    """Whether several workers can share the work."""

    has_headers: ClassVar[bool] = True
    """Whether records have headers, optional keys, and a log time that the sender sets."""

    lease_s: float = 3.0
    """How long a silent worker is taken for alive, on transports whose groups are leases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends: dict[TopicPartition, int] = {}
        self.edition = NEWEST
        """The edition that the journal is begun with."""
        self.rollouts = SetRollouts()

    def terms(self) -> Terms:
        """Return the terms of the journal."""
        return terms(PARTITIONS, edition=self.edition)

    def upgrade(self) -> None:
        """Begin the newest edition, as `claimtrace upgrade` does in a process of its own."""
        journal = self._journal(self.terms())
        assert begin_edition(journal, journal.terms, 0).plan
        journal.close()

    @abstractmethod
    def _journal(self, wanted: Terms) -> Any: ...

    def put(self, rows: Sequence[Outgoing]) -> None:
        """Append to the inputs, without transactions, so that positions have no gaps."""
        self._append(rows)
        for row in rows:
            topic_partition = row.topic, row.partition
            self.ends[topic_partition] = self.ends.get(topic_partition, 0) + 1

    def time_ms(self, log_time_ms: int) -> int:
        """Return the log time of an output, as far as it can be predicted."""
        return log_time_ms if self.has_headers else 0

    @abstractmethod
    def start(self, name: str = "a", crash: Crashing = lambda _: None) -> Worker:
        """Start a worker on the folder of its name; it has recovered when this returns."""

    @abstractmethod
    def records(self, topic: str) -> list[Record]:
        """Return the records that a reader sees on a topic, by partition and position."""

    @abstractmethod
    def proof(self) -> tuple[list[Plan], Source]:
        """Return the journal's plans, and a source to replay them from."""

    @abstractmethod
    def close(self) -> None:
        """Close everything that was opened."""

    @abstractmethod
    def _append(self, rows: Sequence[Outgoing]) -> None: ...

    def offline(self) -> OfflineStore:
        """Open the offline store that all workers share."""
        return OfflineStore(self.folder / "offline")

    def engine(self) -> Engine:
        """Make an engine without any state."""
        return engine_of(self.terms())

    def is_done(self, workers: Sequence[Worker]) -> bool:
        """Whether all workers have applied all records, and every topic-partition has an owner."""
        topic_partitions = sum(worker.owned for worker in workers)
        return (not self.has_group or topic_partitions == GROUP_PARTITIONS) and all(
            self.is_read(worker) for worker in workers
        )

    def is_read(self, worker: Worker) -> bool:
        """Whether a worker has applied all records."""
        positions = worker.driver.engine.positions
        return all(positions.get(each, 0) == end for each, end in self.ends.items())

    def run(self, *workers: Worker, batch: int = 8) -> None:
        """Step the workers until all is done; a `Crash` of one of them is raised."""
        self.work_until(lambda: self.is_done(workers), *workers, batch=batch)

    def share(self, *workers: Worker) -> None:
        """Step the workers until each owns a topic-partition, and together they own all."""
        self.work_until(
            lambda: (
                sum(w.owned for w in workers) == GROUP_PARTITIONS and all(w.owned for w in workers)
            ),
            *workers,
        )

    def work_until(self, is_over: Callable[[], bool], *workers: Worker, batch: int = 8) -> None:
        """Step several workers in a thread each, one in this thread; the error of one ends all."""
        stop, ended = threading.Event(), list[BaseException]()

        def work(worker: Worker) -> None:
            try:
                while not stop.is_set():
                    if not worker.driver.step(batch):
                        time.sleep(0.003)
            except BaseException as error:
                ended.append(error)

        until_s = time.monotonic() + _PATIENCE_S
        if len(workers) == 1:  # in this thread: the embedded log belongs to the one that opened it
            while not is_over() and time.monotonic() < until_s:
                if not workers[0].driver.step(batch):
                    time.sleep(0.003)
        several = workers if len(workers) > 1 else ()
        threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in several]
        for thread in threads:
            thread.start()
        was_over = False
        while not (was_over := is_over()) and not ended and time.monotonic() < until_s:
            time.sleep(0.003)
        stop.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
        if ended:
            raise ended[0]
        lines = [
            (w.owned, w.driver.engine.positions, w.observer.kinds, w.lines[-3:]) for w in workers
        ]
        # looked at while they worked: a group that shares out again meanwhile is no failure
        assert was_over or is_over(), f"not within {_PATIENCE_S:g} s: {lines}"

    def _worker(
        self, name: str, crash: Crashing, parts: Any, die: Callable[[], None], *,
        group: Group | None = None, reached: ReachedFile | None = None, commit_s: float = 0.0,
    ) -> Worker:  # fmt: skip
        source, journal, sink = parts
        observer, lines = RecordingObserver(), list[str]()
        observer.notify = lines.append
        observer.passed = crash  # type: ignore[method-assign, assignment]
        snapshots = Snapshots(self.folder / name / "snapshots")
        driver = Driver(
            self.engine(),
            LogParts(source, journal, sink, group),
            Stores(self.offline(), snapshots, reached, rollouts=self.rollouts),
            Cadence((SNAPSHOT_EVERY, 1e9), (OFFLINE_EVERY, 1e9), commit_s),
            SystemClock(),
            lambda: CHAMPION,
            observer,
        )
        driver.recover()
        return Worker(driver, die, observer, lines)


class LocalGround(Ground):
    """The embedded log."""

    once, has_group = True, False

    def __init__(self, folder: Path, _: Any = None) -> None:
        super().__init__(folder)
        self._world = World(folder, PARTITIONS)

    def _journal(self, wanted: Terms) -> FileJournal:
        return FileJournal(self.folder / "journal", wanted)

    def start(self, name: str = "a", crash: Crashing = lambda _: None) -> Worker:
        log = self._world.open_log()
        journal = self._journal(self.terms())
        parts = EmbeddedSource(log, DOMAIN.topics, PARTITIONS), journal, self._world.sink(log)

        def die() -> None:
            journal.close()
            log.close()

        with _closing_on_error(die):
            return self._worker(name, crash, parts, die)

    def records(self, topic: str) -> list[Record]:
        return [r for part in self._world.outputs()[topic] for r in part]

    def proof(self) -> tuple[list[Plan], Source]:
        log = self._world.open_log()
        source = EmbeddedSource(log, DOMAIN.topics, PARTITIONS)
        return list(read_plans(self.folder / "journal")), source

    def close(self) -> None:
        pass

    def _append(self, rows: Sequence[Outgoing]) -> None:
        log = self._world.open_log()
        log.append(rows)
        log.close()


class KafkaGround(Ground):
    """A real broker; its topics are created anew, and the group is new."""

    once, has_group = False, True
    output: ClassVar[Any] = "at_least_once"

    def __init__(self, folder: Path, cluster: Cluster, **kafka: Any) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self._kafka = {"group": f"ground-{next(_numbers)}", "session_timeout": "1500ms",
                       "output": self.output, **kafka}  # fmt: skip
        self._open: list[Callable[[], None]] = []
        many = dict.fromkeys((*DOMAIN.topics, DECISIONS_TOPIC, DEAD_TOPIC), PARTITIONS)
        one = dict.fromkeys((DRIFT_TOPIC, ALERTS_TOPIC, JOURNAL_TOPIC), 1)
        make_anew(cluster, {**many, **one})

    def _journal(self, wanted: Terms) -> KafkaJournal:
        return KafkaJournal(self.settings().kafka_connection, wanted, SystemClock())

    def settings(self, **kafka: Any) -> Settings:
        """Return the settings of one worker."""
        made = KafkaSettings(**{**self._kafka, **kafka})
        return Settings(source=f"kafka://{self.cluster.bootstrap}", kafka=made)

    def start(
        self,
        name: str = "a",
        crash: Crashing = lambda _: None,
        **member: Any,
    ) -> Worker:
        """Start a worker; `member` are settings of the group's member alone.

        A worker with an `instance` doesn't leave the group when it dies: its partitions stay
        assigned to it for the session time-out.

        """
        settings, clock = self.settings(), SystemClock()
        closes: list[Callable[[], None]] = []
        die = partial(_call_all, closes)
        self._open.append(die)  # should a test fail before
        with _closing_on_error(die):
            source = KafkaSource(settings.kafka_connection, DOMAIN.topics, clock)
            closes.append(source.close)
            journal = self._journal(self.terms())
            closes.append(partial(forget_plans, journal))
            own_id = f"{settings.kafka.group}-{name}" if self.output == "exactly_once" else ""
            output = KafkaOutput(settings.kafka_connection, own_id)
            closes.append(partial(_lose, output))
            group = KafkaGroup(
                self.settings(**member).kafka_connection, DOMAIN.topics, clock, output
            )
            group._connection = settings.kafka_connection
            closes.append(group.leave)
            parts = source, journal, output
            return self._worker(name, crash, parts, die, group=group, commit_s=0.0)

    def records(self, topic: str) -> list[Record]:
        return read_topic(self.cluster.bootstrap, topic, committed=True)

    def proof(self) -> tuple[list[Plan], Source]:
        settings, clock = self.settings(), SystemClock()
        journal, source = (
            KafkaJournal(settings.kafka_connection, None, clock),
            KafkaSource(settings.kafka_connection, DOMAIN.topics, clock),
        )
        self._open += [journal.close, source.close]
        return list(journal.read(1)), source

    def close(self) -> None:
        _call_all(self._open)

    def _append(self, rows: Sequence[Outgoing]) -> None:
        send(self.cluster.bootstrap, rows)


class ExactlyOnceGround(KafkaGround):
    """Kafka with decisions, dead letters and offsets in one transaction."""

    once = True
    output = "exactly_once"

    def __init__(self, folder: Path, cluster: Cluster, **kafka: Any) -> None:
        super().__init__(folder, cluster, properties={"transaction.timeout.ms": 3000}, **kafka)

    def records(self, topic: str) -> list[Record]:
        """Wait until no transaction is open: that of a dead worker hides the records behind it."""
        until_s = time.monotonic() + _PATIENCE_S
        while self._ends(topic, IsolationLevel.READ_COMMITTED) != self._ends(
            topic, IsolationLevel.READ_UNCOMMITTED
        ):
            assert time.monotonic() < until_s, f"a transaction on {topic} doesn't end"
            time.sleep(0.05)
        return super().records(topic)

    def _ends(self, topic: str, level: IsolationLevel) -> list[int]:
        partitions = range(PARTITIONS if topic in (DECISIONS_TOPIC, DEAD_TOPIC) else 1)
        asked = {KafkaPartition(topic, p): OffsetSpec.latest() for p in partitions}
        admin = self.cluster.admin()  # kept: its answers end with it
        found = admin.list_offsets(asked, isolation_level=level)
        return [found[topic_partition].result(30).offset for topic_partition in asked]


TRANSPORTS: Final[dict[str, type[Any]]] = {
    "local": LocalGround,
    "kafka": KafkaGround,
    "kafka exactly once": ExactlyOnceGround,
}
"""The grounds, each made with a folder and, where it needs one, a running server."""


@contextmanager
def _closing_on_error(close: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        close()
        raise


def _call_all(closes: list[Callable[[], None]]) -> None:
    while closes:
        closes.pop()()


def forget_plans(journal: KafkaJournal) -> None:
    """Close a journal; plans that lost and were never sent must not reach topics created anew."""
    journal._producer.purge()
    journal.close()


def _lose(output: KafkaOutput) -> None:
    """Drop what a killed worker leaves: queued records don't arrive, its transaction stays open."""
    sink = output._sink
    if sink._producer is not None:
        try:
            sink._producer.purge()
            sink._producer.poll(0)
        except (ClaimtraceError, KafkaException):
            pass  # the client takes the loss of what was in flight for an error; it is meant here
        sink._producer = sink._transactions = None
