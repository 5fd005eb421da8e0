"""The workspace of one run: settings, paths, and the stores that the settings name."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claimtrace.adapters.process.search_path import search_current_folder_last
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.clock import duration_ms
from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import UsageError
from claimtrace.ids import digest
from claimtrace.settings.loading import load_settings
from claimtrace.settings.schema import S3, Settings

from ..console import notify
from ..mistakes import check_folder

if TYPE_CHECKING:
    from claimtrace.adapters.embedded_log.log import EmbeddedLog
    from claimtrace.schemas.adapters.registry import Schemas
    from featurestore.definitions.domain import Domain
    from featurestore.offline.adapters.delta import OfflineStore
    from models.fit import Misfit
    from models.registry.registry import ModelRegistry
    from models.rollout.manifest import Rollout
    from models.scorer import Scorer
    from stream.journal.terms import Terms


CONFIG_NAME = Path("claimtrace.toml")
CHAMPION = "champion"
FOLDER_VARIABLE = "CLAIMTRACE_FOLDER"


def os_user() -> str:
    """Return the user of the operating system and the machine, `user@host`.

    In a container the user may have a number and no name.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


class Workspace:
    """The settings of a run, and the paths and stores that depend on them, opened on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path(settings.folder)
        self.clock = SystemClock()
        self._scorers: dict[ModelRef, Scorer] = {}
        self._rollouts: dict[RolloutRef, Rollout] = {}

    @classmethod
    def open(cls, config: Path | None, folder: Path | None, source: str | None = None) -> Workspace:
        """Read the settings; an option beats the environment, which beats the file.

        The file is the one that was named, else `claimtrace.toml` here, else the one in the folder,
        so that a folder keeps the settings that it was made with, however the folder was named.

        Raises:
            UsageError: the file that was named doesn't exist, or the folder can't be one.
        """
        if config is not None and not config.is_file():
            raise UsageError("there is no such settings file", where=str(config))
        environment = dict(os.environ)
        named = folder or Path(environment.get(FOLDER_VARIABLE) or Settings().folder)
        check_folder(named)
        path = config or CONFIG_NAME
        if not path.is_file():
            path = named / CONFIG_NAME
        toml = path.read_bytes() if path.is_file() else None
        options = {"folder": str(folder) if folder is not None else None, "source": source}
        chosen = {name: value for name, value in options.items() if value is not None}
        workspace = cls(load_settings(toml, environment, str(path), chosen))
        check_folder(workspace.folder)  # the file may have named another
        return workspace

    def at_source(self, source: str) -> Workspace:
        """Return a workspace with these settings and another source."""
        checked = load_settings(None, {}, options={"source": source}).source
        return Workspace(msgspec.structs.replace(self.settings, source=checked))

    @cached_property
    def domain(self) -> Domain:
        """The domain that the settings name; its module may be in the current folder."""
        from featurestore.definitions.domain import load_domain

        search_current_folder_last()
        return load_domain(self.settings.domain, notify)

    @property
    def log_path(self) -> Path:
        """The file of the embedded log."""
        return self.folder / "log.db"

    @property
    def state_folder(self) -> Path:
        """The folder of journal, snapshots and lock of the stream."""
        return self.folder / "state"

    @property
    def journal_path(self) -> Path:
        """The file of the journal of plans."""
        return self.state_folder / "journal"

    @property
    def models_folder(self) -> Path | None:
        """The folder of the registries of all models; None when they are in a bucket."""
        place = self.settings.models
        if place.startswith(S3):
            return None
        return Path(place) if place else self.folder / "models"

    @property
    def truth_path(self) -> Path:
        """The file of the simulator's ground truth, which is not on the log."""
        return self.folder / "truth.parquet"

    def log(self, *, create: bool = False, topics: bool = True) -> EmbeddedLog:
        """Open the embedded log to read it; with `create` to write it, made if it doesn't exist.

        Without `topics` the caller makes them by `make_topics`, when nothing is refused any more.

        Raises:
            UsageError: there is no log yet, and none is to be made.
        """
        from claimtrace.adapters.embedded_log.log import EmbeddedLog

        if not create and not self.log_path.exists():
            raise UsageError(
                "there is no log yet",
                where=str(self.log_path),
                hint="put events on it with `claimtrace simulate` or `claimtrace replay`",
            )
        if not create:
            return EmbeddedLog(self.log_path, to_read=True)
        _ = self.domain  # first: one that can't be had leaves no folder behind
        self.folder.mkdir(parents=True, exist_ok=True)
        log = EmbeddedLog(self.log_path)
        if topics:
            self.make_topics(log)
        return log

    def make_topics(self, log: EmbeddedLog) -> None:
        """Make the domain's topics where they are missing.

        Raises:
            ConfigError: a topic has another number of partitions; then none is made.
        """
        for topic in sorted(self.domain.topics, key=lambda topic: topic not in log.topics()):
            log.create_topic(topic, self.settings.partitions)

    @cached_property
    def registry(self) -> ModelRegistry:
        """The registry of models."""
        return self.new_registry()

    def new_registry(self) -> ModelRegistry:
        """Open the registry once more, for another thread."""
        folder, name, user = self.models_folder, self.domain.name, os_user()
        if folder is not None:
            from models.registry.adapters.folder import FolderRegistry

            return FolderRegistry(folder, name, user)
        from models.registry.adapters.s3 import S3Registry

        return S3Registry(self.settings.models, name, user)

    @cached_property
    def offline(self) -> OfflineStore:
        """The offline store."""
        from featurestore.offline.adapters.delta import OfflineStore

        return OfflineStore(self.settings.offline or self.folder / "offline")

    def terms(self) -> Terms:
        """Return the terms of a journal under these settings."""
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
            reasons_for=settings.decision.reasons_for,
            texts=self.texts(),
        )

    def texts(self) -> dict[str, str]:
        """Return the texts of definitions and rules as a journal keeps them."""
        from stream.journal.kept_texts import packed

        return packed((self.domain.definitions_text, self.domain.rules_text))

    @property
    def has_journal(self) -> bool:
        """Whether a stream has run on this folder, or may have run on a shared log."""
        return self.settings.source != "local" or self.journal_path.exists()

    def scorer_of(self, ref: ModelRef) -> Scorer:
        """Return the loaded, verified model of a version; it is loaded once."""
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

    @cached_property
    def feature_digests(self) -> dict[str, str]:
        """The digest of each feature of the domain, by name."""
        from featurestore.fields.feature_digests import feature_digests

        return feature_digests(self.domain)

    def misfit(self, which: ModelRef | int) -> Misfit | None:
        """Return why a version can't serve under the domain's definitions; None if it can."""
        from models.fit import misfit

        manifest = self.registry.load(which).manifest
        return misfit(manifest, self.domain.definitions_digest, self.feature_digests)

    def published(self, version: int) -> ModelRef:
        """Return a version by its number.

        Raises:
            UsageError: there is no such version; the hint says which there are.
        """
        versions = {ref.version: ref for ref in self.registry.versions()}
        if version not in versions:
            known = (
                f"published: {min(versions)} .. {max(versions)}"
                if versions
                else "none published yet"
            )
            raise UsageError(f"there is no version {version}", where=self.domain.name,
                             hint=known)  # fmt: skip
        return versions[version]

    def rollout_of(self, ref: RolloutRef) -> Rollout:
        """Return the verified manifest of a roll-out; it is read once."""
        found = self._rollouts.get(ref)
        if found is None:
            found = self._rollouts[ref] = self.registry.rollout(ref)
        return found

    def warm_up(self) -> None:
        """Load the champion and compile its kernels, so that the first batch doesn't wait for
        them; the models of a roll-out too."""
        ref, rollout = self.registry.alias(CHAMPION), self.registry.rollout_in_force()
        if ref is not None:
            self.scorer_of(ref)
        if rollout is not None:
            for model in self.rollout_of(rollout).models:
                self.scorer_of(model)

    @cached_property
    def schemas(self) -> Schemas | None:
        """The schema registry of the settings, with a cache in the folder; None when none is
        named."""
        if not self.settings.schemas.registry:
            return None
        from claimtrace.schemas.adapters.registry import Schemas

        return Schemas(self.settings.schemas, self.folder / "schemas")
