"""Assemble a stream in a folder: log, journal, engine, offline store and snapshots of a domain.

Benchmarks and tests on real input use the parts of `claimtrace stream` in this process, without its
settings and locks.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.buffers.siphash import hash_key
from claimtrace.clock import DAY_MS, Clock, ManualClock
from claimtrace.decisions import ModelRef
from claimtrace.settings.schema import StreamSettings
from featurestore.definitions.domain import Domain
from featurestore.offline.adapters.delta import OfflineStore
from models.scorer import Scorer
from stream.adapters.embedded.file_journal import FileJournal
from stream.adapters.embedded.log import EmbeddedOutput, EmbeddedSource
from stream.adapters.process.background import DaemonThreads
from stream.adapters.process.garbage import rare_collections
from stream.adapters.snapshots.reached_file import ReachedFile
from stream.adapters.snapshots.snapshots import Snapshots
from stream.engine.engine import Engine
from stream.journal.terms import Terms
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Output, Stores

KEY = hash_key("benchmarks")
NOW_MS = 1_800_000_000_000
"""The time that plans carry for readers; no decision depends on it."""


def no_models(ref: ModelRef) -> Scorer:
    """Refuse to load a model, in a stream without one."""
    raise AssertionError(f"no model {ref}")


def terms_of(
    domain: Domain,
    partitions: int,
    lateness_days: int,
    remember_days: int,
    drift_window_ms: int = DAY_MS,
) -> Terms:
    """Make the terms of a stream; others than the arguments are the defaults of the settings."""
    return Terms(
        domain=domain.name,
        definitions=domain.definitions_digest,
        rules=domain.rules_digest,
        topics=list(domain.topics),
        lateness_ms=lateness_days * DAY_MS,
        remember_ms=remember_days * DAY_MS,
        reasons=6,
        drift_window_ms=drift_window_ms,
        drift_lateness_ms=DAY_MS,
        drift_min_count=200,
        drift_alert_m=2,
        drift_alert_n=3,
        partitions=partitions,
    )


@dataclass(frozen=True)
class Line:
    """The parts of one domain's stream in a folder; `log` is open until `close`."""

    folder: Path
    domain: Domain
    terms: Terms
    log: EmbeddedLog
    scorer_of: Callable[[ModelRef], Scorer] = no_models
    champion: ModelRef | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        domain: Domain,
        *,
        partitions: int = 4,
        lateness_days: int = 0,
        remember_days: int = 400,
        drift_window_ms: int = DAY_MS,
        durable: bool = False,
        scorer: Scorer | None = None,
    ) -> Line:
        """Open the folder's log, and create the domain's topics in it."""
        log = EmbeddedLog(folder / "log.db", durable=durable)
        for topic in domain.topics:
            log.create_topic(topic, partitions)
        terms = terms_of(domain, partitions, lateness_days, remember_days, drift_window_ms)
        if scorer is None:
            return cls(folder, domain, terms, log)
        return cls(folder, domain, terms, log, lambda _: scorer, scorer.ref)

    def engine(self) -> Engine:
        """Make a fresh engine."""
        return Engine(self.domain, self.terms, KEY, self.scorer_of)

    def source(self) -> EmbeddedSource:
        """Open a source of the domain's topics, merged."""
        return EmbeddedSource(self.log, self.domain.topics, self.terms.partitions)

    def sink(self) -> EmbeddedOutput:
        """Open a sink to the output topics of the same log."""
        return EmbeddedOutput(self.log, self.terms.partitions)

    def offline(self) -> OfflineStore:
        """Open the offline store beside the log."""
        return OfflineStore(self.folder / "offline")

    def driver(
        self,
        engine: Engine | None = None,
        sink: Output | None = None,
        *,
        snapshot_every_records: int = StreamSettings().snapshot_every_records,
        offline_every_records: int = StreamSettings().offline_every_records,
    ) -> Driver:
        """Make a driver on the line's own log, and recover its state."""
        journal = FileJournal(self.folder / "journal", self.terms)
        return self.driver_of(
            LogParts(self.source(), journal, sink or self.sink()),
            self.folder,
            ManualClock(NOW_MS),
            engine=engine,
            snapshot_every_records=snapshot_every_records,
            offline_every_records=offline_every_records,
        )

    def driver_of(
        self,
        log: LogParts,
        stores: Path,
        clock: Clock,
        *,
        engine: Engine | None = None,
        snapshot_every_records: int = StreamSettings().snapshot_every_records,
        offline_every_records: int = StreamSettings().offline_every_records,
        commit_s: float = 0.0,
        observer: WorkerObserver | None = None,
    ) -> Driver:
        """Make a driver of the line's domain and model on any log, and recover its state.

        Args:
            log, clock, commit_s, observer: as `Driver` takes them.
            stores: folder of the offline store and of the snapshots.
            engine: None: a fresh one.
            snapshot_every_records, offline_every_records: a snapshot, and an append to the offline
                store, fall due after this number of records, never by time.
        """
        driver = Driver(
            engine or self.engine(),
            log,
            Stores(
                OfflineStore(stores / "offline"),
                Snapshots(stores / "snapshots"),
                ReachedFile(stores / "reached"),
                DaemonThreads(),
            ),
            Cadence((snapshot_every_records, 1e9), (offline_every_records, 1e9), commit_s),
            clock,
            lambda: self.champion,
            observer or WorkerObserver(),
        )
        driver.recover()
        return driver

    def run(self, batch: int = 2000) -> Driver:
        """Stream until no records are left, then store the remaining rows and a snapshot."""
        driver = self.driver()
        with rare_collections():
            while driver.step(batch):
                pass
            driver.finish()
        return driver

    def close(self) -> None:
        """Close the log."""
        self.log.close()


def peak_mb() -> float:
    """The peak memory of this process, in MB (10**6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
