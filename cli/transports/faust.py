"""Kafka under Faust: the app of `faust -A cli.transports.faust:app worker`, and its transport."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.clock import duration_ms
from claimtrace.errors import ClaimtraceError, ConfigError, UsageError
from claimtrace.settings.schema import KAFKA

from ..console import err, show_error
from ..wiring.assembly import build_driver
from ..wiring.observing import observe, store_names
from ..wiring.waiting import wait_until_opened
from ..wiring.worker_log import start
from ..wiring.workspace import Workspace
from .kafka import KafkaTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.adapters.faust.app import RecoveredDriver
    from stream.worker.observer import WorkerObserver

CONFIG_VARIABLE = "FAUST_CLAIMTRACE_CONFIG"
"""Names the settings file for the app that Faust imports."""

GIVE_UP_VARIABLE = "FAUST_GIVE_UP_AFTER"
"""How long trouble may last before the worker ends; by default 60s."""


def __getattr__(name: str) -> Any:
    """Return `app`, made from the settings of this folder and environment when Faust asks."""
    if name != "app":
        raise AttributeError(name)
    return _app()


def check(workspace: Workspace) -> None:
    """Refuse what can't run under Faust.

    Raises:
        UsageError: the source is no Kafka.
        ConfigError: the extra isn't installed.
    """
    if not workspace.settings.source.startswith(KAFKA):
        raise UsageError("Faust reads Kafka only", where="source",
                         hint="set CLAIMTRACE_SOURCE=kafka://host:9092")  # fmt: skip
    if "faust" not in sys.modules and find_spec("faust") is None:
        raise ConfigError("Faust isn't installed", where="faust",
                          hint="pip install 'claimtrace[faust]'")  # fmt: skip


@cache
def _app() -> Any:
    """Make the app once; a wrong setting ends the process with its message."""
    try:
        return make()
    except ClaimtraceError as error:
        show_error(error)
        raise SystemExit(error.exit_code) from None


def make() -> Any:
    """Make the app from the settings of this folder and environment.

    Raises:
        UsageError, ConfigError: a setting is wrong, or something isn't installed.
    """
    from stream.adapters.faust.app import AppParts, make_app

    config = os.environ.get(CONFIG_VARIABLE)
    folder = os.environ.get("CLAIMTRACE_FOLDER")
    workspace = Workspace.open(Path(config) if config else None, Path(folder) if folder else None)
    check(workspace)
    give_up = os.environ.get(GIVE_UP_VARIABLE, "60s")
    try:
        give_up_s = duration_ms(give_up) / 1000
    except ValueError as error:
        raise ConfigError(str(error), where=GIVE_UP_VARIABLE) from None

    def open_driver(opened: ExitStack, stopping: Callable[[], bool]) -> RecoveredDriver:
        opened.enter_context(FolderLock(workspace.state_folder))
        logs = not err.is_terminal
        if logs:
            start(workspace, opened)
        observer = observe(workspace, opened, logs=logs)

        def attempt(trying: ExitStack, patience_s: float) -> RecoveredDriver:
            transport = trying.enter_context(FaustTransport(workspace))
            transport.check_reachable(patience_s)
            return transport.recovered(observer, stopping, trying)

        found = wait_until_opened(
            attempt, observer, store_names(workspace), workspace.clock, stopping, opened
        )
        assert found is not None, "a stop ends the process before"
        return found

    return make_app(
        AppParts(
            connection=workspace.settings.kafka_connection,
            batch_records=workspace.settings.stream.batch_records,
            topics=list(workspace.domain.topics),
            folder=workspace.state_folder / "faust",
            clock=workspace.clock,
            open_driver=open_driver,
            give_up_s=give_up_s,
        )
    )


class FaustTransport(KafkaTransport):
    """A cluster whose records Faust delivers."""

    def recovered(
        self, observer: WorkerObserver, stopping: Callable[[], bool], opened: ExitStack
    ) -> RecoveredDriver:
        """Return a driver at the end of the journal, once no other worker is on that journal.

        Raises:
            StateError: another worker runs, or the journal isn't the one of the checkpoints.
        """
        from stream.adapters.faust.gap_reader import GapReader
        from stream.adapters.faust.group import (
            GroupMembers,
            SingleWorkerGroup,
            set_start_offsets,
        )
        from stream.adapters.faust.source import FaustSource
        from stream.adapters.kafka.source import KafkaSource

        workspace, connection = self.workspace, self._connection
        topics, clock = workspace.domain.topics, workspace.clock
        members = GroupMembers(connection, clock)
        journal, output = self._open_journal_and_output()
        group = SingleWorkerGroup(connection, topics, clock, output)
        gaps = GapReader(connection, clock, observer.notify)
        source = FaustSource(
            topics, clock, lambda: KafkaSource(connection, topics, clock, observer), gaps, observer
        )
        self._opened.callback(gaps.close)
        self._opened.callback(source.suspend_fetching)
        log = self._with_group(source, journal, output, group)
        driver = build_driver(workspace, log, observer, stopping, opened)
        workspace.warm_up()
        driver.recover()
        source.suspend_fetching()
        # a previous process of this worker has left the group's offsets where it stopped
        if not members.wait_until_empty(observer.notify):
            set_start_offsets(connection, driver.engine.positions)
        return driver, source, group
