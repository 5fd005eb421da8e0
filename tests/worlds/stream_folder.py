"""A whole stream on a folder, with crashes at given points: shared by the tests of the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.clock import ManualClock
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    ModelRef,
)
from claimtrace.events import Outgoing, Record
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.offline.adapters.delta import OfflineStore
from models.scorer import Scorer
from stream.adapters.embedded.file_journal import FileJournal
from stream.adapters.embedded.log import EmbeddedOutput, EmbeddedSource
from stream.adapters.snapshots.reached_file import ReachedFile
from stream.adapters.snapshots.snapshots import BACKGROUND_FROM_BYTES, Snapshots
from stream.engine.engine import Engine
from stream.journal.terms import Terms
from stream.journal.upgrade import begin_edition
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Output, Stores
from tests.worlds.random_events import KEY
from tests.worlds.rollouts import SetRollouts, rollout_of
from tests.worlds.state_contents import contents

OUTPUTS = (DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC)
DAY_MS = 86_400_000


class Crash(BaseException):
    """The death of the process: nothing in memory survives, no handler runs."""


def no_models(ref: ModelRef) -> Scorer:
    raise AssertionError(f"no model {ref}")


def terms(partitions: int = 2, **changes: int) -> Terms:
    plain = {
        "lateness_ms": 30 * DAY_MS,
        "remember_ms": 400 * DAY_MS,
        "reasons": 4,
        "drift_window_ms": DAY_MS,
        "drift_lateness_ms": DAY_MS,
        "drift_min_count": 50,
        "drift_alert_m": 2,
        "drift_alert_n": 3,
    }
    return Terms(
        domain=DOMAIN.name,
        definitions=DOMAIN.definitions_digest,
        rules=DOMAIN.rules_digest,
        topics=list(DOMAIN.topics),
        partitions=partitions,
        **{**plain, **changes},
    )


@dataclass
class World:
    """A folder with a log, and a driver over it that can be killed and started again."""

    folder: Path
    partitions: int = 2
    durable: bool = False
    offline_every: int = 40
    snapshot_every: int = 100
    background_from_bytes: int = BACKGROUND_FROM_BYTES
    scorer_of: Callable[[ModelRef], Scorer] = no_models
    champion: ModelRef | None = None
    plain: Any = None
    unknown_schemas: Callable[[Sequence[Record]], list[int]] = lambda records: []
    changes: Mapping[str, int] = field(default_factory=dict)
    """Terms other than the usual ones."""
    executor: Executor | None = None
    rollouts: SetRollouts = field(default_factory=SetRollouts)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.open_log().close()

    def open_log(self) -> EmbeddedLog:
        log = EmbeddedLog(self.folder / "log.db", durable=self.durable)
        for topic in DOMAIN.topics:
            log.create_topic(topic, self.partitions)
        return log

    def put(self, records: list[Record]) -> None:
        log = self.open_log()
        log.append([Outgoing(r.topic, r.partition, r.key, r.value, r.log_time_ms, r.headers)
                    for r in records])  # fmt: skip
        log.close()

    def start(
        self, crash: Callable[[str], None] = lambda point: None
    ) -> tuple[Driver, EmbeddedLog]:
        """Start a driver; returns it, recovered, and its log."""
        log, observer = self.open_log(), WorkerObserver()
        observer.passed = crash  # type: ignore[method-assign]
        driver = Driver(
            self.engine(),
            LogParts(
                EmbeddedSource(log, DOMAIN.topics, self.partitions),
                FileJournal(self.folder / "journal", self.terms()),
                self.sink(log),
                unknown_schemas=self.unknown_schemas,
            ),
            Stores(
                self.offline(),
                Snapshots(
                    self.folder / "snapshots", background_from_bytes=self.background_from_bytes
                ),
                ReachedFile(self.folder / "reached"),
                self.executor,
                rollouts=self.rollouts,
            ),
            Cadence((self.snapshot_every, 1e9), (self.offline_every, 1e9)),
            ManualClock(1_800_000_000_000),
            lambda: self.champion,
            observer,
        )
        try:
            driver.recover()
        except BaseException:
            log.close()
            raise
        return driver, log

    def run(self, crash: Callable[[str], None] = lambda point: None, batch: int = 25) -> None:
        """Run until no record is left; a `Crash` is raised to the caller."""
        log = None
        try:
            driver, log = self.start(crash)
            while driver.step(batch):
                pass
            driver.finish()
        finally:
            if log is not None:
                log.close()

    def upgrade(self) -> None:
        """Begin the newest edition, while no driver runs."""
        journal = FileJournal(self.folder / "journal", self.terms())
        begin_edition(journal, journal.terms, 0)
        journal.close()

    def outputs(self) -> dict[str, list[list[Record]]]:
        """Return every record of the output topics, by topic and partition."""
        log = self.open_log()
        counts = log.topics()
        found = {
            topic: [log.read(topic, p, 0, 10**6) for p in range(counts.get(topic, 0))]
            for topic in OUTPUTS
        }
        log.close()
        return found

    def terms(self) -> Terms:
        """Return the terms of the journal."""
        return terms(self.partitions, **self.changes)

    def engine(self) -> Engine:
        """Make an engine without any state."""
        return Engine(DOMAIN, self.terms(), KEY, self.scorer_of, self.plain, rollout_of)

    def sink(self, log: EmbeddedLog) -> Output:
        """Return the output of the log."""
        return EmbeddedOutput(log, self.partitions)

    def offline(self) -> Any:
        """Open the offline store."""
        return OfflineStore(self.folder / "offline")

    def offline_rows(self) -> dict[str, list[str]]:
        """Return every row of the offline store, written out (NaN equals NaN there) and sorted."""
        store = self.offline()
        return {
            table: sorted(repr(row) for row in store.dataset(table).to_table().to_pylist())
            for table in sorted(store.tables())
        }

    def state(self) -> dict[str, Any]:
        """Return the contents of the engine's state after recovery, independent of its layout."""
        driver, log = self.start()
        log.close()
        return contents(driver.engine)
