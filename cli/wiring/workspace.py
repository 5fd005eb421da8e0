"""Where things lie, and how they are put together, for one run of a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.clock import duration_ms
from claimtrace.decisions import ModelRef
from claimtrace.errors import ConfigError, UsageError
from claimtrace.ids import digest
from claimtrace.settings.loading import load_settings
from claimtrace.settings.schema import KINESIS, Settings

from ..console import err, safe

if TYPE_CHECKING:
    from claimtrace.adapters.embedded_log.log import EmbeddedLog
    from claimtrace.schemas.adapters.registry import Schemas
    from featurestore.definitions.domain import Domain
    from featurestore.offline.adapters.delta import OfflineStore
    from models.registry.adapters.folder import FolderRegistry
    from models.scorer import Scorer
    from stream.engine.engine import Engine
    from stream.group.group import Group
    from stream.journal.journal import Journal
    from stream.journal.source import Source
    from stream.journal.terms import Terms
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver
    from stream.worker.ownership import Output

    from ..transports.base import Transport

CONFIG_NAME = Path("claimtrace.toml")
CRASH_VARIABLE = "CRASH_AT"
CHAMPION = "champion"


class Session:
    """The settings of a run, and all parts of the system that hang on them, made when asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path(settings.folder)
        self.clock = SystemClock()
        self._scorers: dict[ModelRef, Scorer] = {}
        self._open: list[Callable[[], None]] = []

    @classmethod
    def open(cls, config: Path | None, folder: Path | None, source: str | None = None) -> Session:
        """Read the settings; an option beats the environment, which beats the file.

        The file is the one that was named, else `claimtrace.toml` here, else the one that lies in
        the folder: what a folder was made with stays with it.

        Raises:
            UsageError: when a file that was named isn't there.
        """
        if config is not None and not config.is_file():
            raise UsageError("there is no such settings file", where=str(config))
        path = config or CONFIG_NAME
        if not path.is_file() and folder is not None:
            path = folder / CONFIG_NAME
        toml = path.read_bytes() if path.is_file() else None
        environment = dict(os.environ)
        if folder is not None:
            environment["CLAIMTRACE_FOLDER"] = str(folder)
        if source is not None:
            environment["CLAIMTRACE_SOURCE"] = source
        return cls(load_settings(toml, environment, str(path)))

    def at_source(self, source: str) -> Session:
        """The same settings with another source."""
        environment = {"CLAIMTRACE_SOURCE": source}
        checked = load_settings(None, environment, "--source").source
        return Session(msgspec.structs.replace(self.settings, source=checked))

    @cached_property
    def domain(self) -> Domain:
        """The domain that the settings name."""
        from featurestore.definitions.domain import load_domain

        return load_domain(self.settings.domain, lambda line: err.print(f"[yellow]{safe(line)}[/]"))

    @property
    def log_path(self) -> Path:
        """The embedded log."""
        return self.folder / "log.db"

    @property
    def state_folder(self) -> Path:
        """Journal, snapshots and lock of the stream."""
        return self.folder / "state"

    @property
    def journal_path(self) -> Path:
        """The journal of plans."""
        return self.state_folder / "journal"

    @property
    def models_folder(self) -> Path:
        """The registry's folder."""
        return Path(self.settings.models) if self.settings.models else self.folder / "models"

    @property
    def truth_path(self) -> Path:
        """What the simulator knows and the log doesn't."""
        return self.folder / "truth.parquet"

    def log(self, *, create: bool = False) -> EmbeddedLog:
        """Open the embedded log, with the domain's topics when it is made.

        Raises:
            UsageError: when there is none yet and it isn't to be made.
        """
        from claimtrace.adapters.embedded_log.log import EmbeddedLog

        if not create and not self.log_path.exists():
            raise UsageError(
                "there is no log yet",
                where=str(self.log_path),
                hint="put events on it with `claimtrace simulate` or `claimtrace replay`",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        log = EmbeddedLog(self.log_path)
        if create:
            for topic in self.domain.topics:
                log.create_topic(topic, self.settings.partitions)
        return log

    @cached_property
    def registry(self) -> FolderRegistry:
        """The models."""
        from models.registry.adapters.folder import FolderRegistry

        return FolderRegistry(self.models_folder, name=self.domain.name)

    @cached_property
    def offline(self) -> OfflineStore:
        """The offline store."""
        from featurestore.offline.adapters.delta import OfflineStore

        return OfflineStore(self.settings.offline or self.folder / "offline")

    def terms(self) -> Terms:
        """What the settings ask of a journal."""
        from stream.journal.terms import Terms

        settings, domain = self.settings, self.domain
        return Terms(
            domain=domain.name,
            definitions=domain.definitions_digest,
            rules=domain.rules_digest,
            topics=list(domain.topics),
            lateness_ms=duration_ms(settings.stream.allowed_lateness),
            remember_ms=duration_ms(settings.stream.remember_ids),
            reasons=settings.decision.reasons,
            drift_window_ms=duration_ms(settings.drift.window),
            drift_lateness_ms=duration_ms(settings.drift.lateness),
            drift_min_count=settings.drift.min_count,
            drift_alert_m=settings.drift.alert_m,
            drift_alert_n=settings.drift.alert_n,
            partitions=settings.partitions,
            hash_key=digest(settings.stream.hash_key.encode())[:16],
            schemas="registry" if settings.schemas.registry else "json",
        )

    @property
    def has_journal(self) -> bool:
        """Whether a stream has run here, as far as this machine knows."""
        return self.settings.source != "local" or self.journal_path.exists()

    def scorer_of(self, ref: ModelRef) -> Scorer:
        """The loaded, verified model of a version; loaded once."""
        from models.registry.adapters.passed_checks import PassedChecks
        from models.scorer import Scorer

        found = self._scorers.get(ref)
        if found is None:
            passed = PassedChecks(self.state_folder / "checked")
            found = Scorer.load(self.registry.load(ref), self_check=not passed.has(ref.digest))
            if found.kernel == found.explain_kernel == "numba":
                passed.add(ref.digest)
            self._scorers[ref] = found
        return found

    def warm_up(self) -> None:
        """Load the champion and its kernels now, so that the first batch doesn't wait for them."""
        ref = self.registry.alias(CHAMPION)
        if ref is not None:
            self.scorer_of(ref)

    def transport(self, *, create: bool = False) -> Transport:
        """The log that the setting `source` names.

        Raises:
            UsageError: the embedded log isn't there and isn't to be made.
        """
        if self.settings.source == "local":
            from ..transports.embedded import EmbeddedTransport

            return EmbeddedTransport(self, create=create)
        if self.settings.source.startswith(KINESIS):
            from ..transports.kinesis import KinesisTransport

            return KinesisTransport(self)
        from ..transports.kafka import KafkaTransport

        return KafkaTransport(self)

    def engine(
        self,
        terms: Terms | None = None,
        scorer_of: Callable[[ModelRef], Scorer] | None = None,
    ) -> Engine:
        """An engine without any state."""
        from claimtrace.buffers.siphash import hash_key
        from stream.engine.engine import Engine

        key = hash_key(self.settings.stream.hash_key)
        plain = self.schemas.plain if self.schemas is not None else None
        return Engine(self.domain, terms or self.terms(), key, scorer_of or self.scorer_of, plain)

    def driver(
        self,
        source: Source,
        journal: Journal,
        sink: Output,
        said: Callable[[str], None],
        watching: WorkerObserver,
        stopping: Callable[[], bool],
        *,
        group: Group | None = None,
        commit_every_s: float = 0.0,
        scorer_of: Callable[[ModelRef], Scorer] | None = None,
        terms: Terms | None = None,
    ) -> Driver:
        """A driver over a transport's parts; the caller holds the lock of the state folder."""
        from stream.adapters.process.background import Background
        from stream.adapters.snapshots.reached_file import ReachedFile
        from stream.adapters.snapshots.snapshots import Snapshots
        from stream.worker.driver import CRASH_POINTS, Driver

        crash_at = os.environ.get(CRASH_VARIABLE, "")
        if crash_at and crash_at not in CRASH_POINTS:
            raise ConfigError(
                f"{CRASH_VARIABLE}={crash_at}", hint="one of " + ", ".join(CRASH_POINTS)
            )
        self._note_definitions()
        settings = self.settings.stream
        return Driver(
            self.engine(terms, scorer_of),
            source,
            journal,
            self._notifying(sink, said, watching),
            self.offline,
            Snapshots(self.state_folder / "snapshots"),
            self.clock,
            Champion(self, said),
            snapshot_every=every(settings.snapshot_every_records, settings.snapshot_every),
            offline_every=every(settings.offline_every_records, settings.offline_every),
            begin=Background,
            reached=ReachedFile(self.state_folder / "reached"),
            group=group,
            commit_every_s=commit_every_s,
            unknown_schemas=self.schemas.unknown_in if self.schemas else lambda _: [],
            stopping=stopping,
            crash=lambda point: os._exit(137) if point == crash_at else None,
            said=said,
            watching=watching,
        )

    def close(self) -> None:
        """End what runs beside a driver; harmless when called again."""
        while self._open:
            self._open.pop()()

    def _notifying(
        self, sink: Output, said: Callable[[str], None], watching: WorkerObserver
    ) -> Output:
        """The sink, with alerts told to an SNS topic if the settings name one."""
        if not self.settings.aws.alerts_topic:
            return sink
        from stream.adapters.reporting.sns import NotifyingOutput, SnsNotifier

        made = NotifyingOutput(sink, SnsNotifier(self.settings, said, watching.notified))
        self._open.append(made.close)
        return made

    @cached_property
    def schemas(self) -> Schemas | None:
        """The schema registry, when the settings name one; what it said is kept in the folder."""
        if not self.settings.schemas.registry:
            return None
        from claimtrace.schemas.adapters.registry import Schemas

        return Schemas(self.settings.schemas, self.folder / "schemas")

    def _note_definitions(self) -> None:
        """Say in the offline store what the numbers of a vector mean; once for each digest."""
        from featurestore.definitions.catalogue import describe
        from featurestore.offline.tables import DEFINITIONS, definitions_rows

        domain = self.domain
        features = [(row.name, row.kind, row.text) for row in describe(domain)]
        rows = definitions_rows(domain.definitions_digest, domain.name, features)
        writer = f"definitions-{domain.definitions_digest}"
        self.offline.append(DEFINITIONS, rows, writer=writer, version=1)


def every(records: int, duration: str) -> tuple[int, float]:
    """A setting's pair of records and seconds."""
    return records, duration_ms(duration) / 1000


class Champion:
    """The model in charge, asked before each plan; the registry is read when it has changed."""

    def __init__(self, session: Session, said: Callable[[str], None]) -> None:
        self._session = session
        self._said = said
        self._seen: tuple[int, int] | None = None
        self._ref: ModelRef | None = None

    def __call__(self) -> ModelRef | None:
        """Its reference, or None while there is none that fits the definitions."""
        path = self._session.models_folder / self._session.domain.name / "approvals.log"
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        seen = stat.st_mtime_ns, stat.st_size
        if seen != self._seen:
            self._seen, self._ref = seen, self._fitting(self._session.registry.alias(CHAMPION))
        return self._ref

    def _fitting(self, ref: ModelRef | None) -> ModelRef | None:
        """The champion if it can serve; else the one before it stays, and that is said."""
        if ref is None or ref == self._ref:
            return ref
        scorer = self._session.scorer_of(ref)
        if scorer.manifest.definitions != self._session.domain.definitions_digest:
            self._said(f"model {ref.label} was trained under other definitions: not used")
            return self._ref
        for note in scorer.notes:
            self._said(note)
        return ref
