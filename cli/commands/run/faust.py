"""`claimtrace faust`: the stream under a Faust worker."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from claimtrace.clock import duration_ms
from claimtrace.errors import ClaimtraceError, ConfigError, UsageError
from claimtrace.settings.schema import KAFKA

from ...console import err, safe, show_error
from ...transports.kafka import KafkaTransport
from ...wiring.workspace import Session
from .stream import watch

if TYPE_CHECKING:
    from stream.adapters.faust.app import Opened
    from stream.worker.observer import WorkerObserver

    from ...transports.base import Stopping

CONFIG_VARIABLE = "FAUST_CLAIMTRACE_CONFIG"
"""Names the settings file for the app that Faust imports."""

GIVE_UP_VARIABLE = "FAUST_GIVE_UP_AFTER"
"""How long trouble may last before the worker ends; by default 60s."""


def faust(
    ctx: typer.Context,
    arguments: list[str] = typer.Argument(None, help="More for `faust worker`, after `--`."),  # noqa: B008
) -> None:
    """Run the stream under Faust, for teams that run Faust; see docs/faust.md for when.

    It is `faust -A stream.adapters.faust.app:app worker -l warn --without-web` with these settings.
    One worker runs on a journal; what it leaves a plain worker takes up, and the other way round.
    """
    check(ctx.obj)
    chosen: dict[str, Any] = ctx.parent.params if ctx.parent is not None else {}
    environment = dict(os.environ)
    if chosen.get("folder") is not None:
        environment["CLAIMTRACE_FOLDER"] = str(chosen["folder"])
    if chosen.get("source") is not None:
        environment["CLAIMTRACE_SOURCE"] = chosen["source"]
    if chosen.get("config") is not None:
        environment[CONFIG_VARIABLE] = str(chosen["config"])
    command = [sys.executable, "-m", "faust", "-A", "stream.adapters.faust.app:app", "worker",
               "-l", "warn", "--without-web", *(arguments or [])]  # fmt: skip
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter, no shell


def check(session: Session) -> None:
    """Refuse what can't run under Faust.

    Raises:
        UsageError: the source is no Kafka.
        ConfigError: the extra isn't installed.
    """
    if not session.settings.source.startswith(KAFKA):
        raise UsageError("Faust reads Kafka only", where="source",
                         hint="set CLAIMTRACE_SOURCE=kafka://host:9092")  # fmt: skip
    if "faust" not in sys.modules and find_spec("faust") is None:
        raise ConfigError("Faust isn't installed", where="faust",
                          hint="pip install 'claimtrace[faust]'")  # fmt: skip


@cache
def app() -> Any:
    """The app that `faust -A stream.adapters.faust.app:app` asks for; a wrong setting ends it
    here."""
    try:
        return make()
    except ClaimtraceError as error:
        show_error(error)
        raise SystemExit(error.exit_code) from None


def make() -> Any:
    """The app, from the settings of this folder and environment.

    Raises:
        UsageError, ConfigError: a setting is wrong, or something isn't installed.
    """
    from stream.adapters.faust.app import Parts, make_app

    config = os.environ.get(CONFIG_VARIABLE)
    folder = os.environ.get("CLAIMTRACE_FOLDER")
    session = Session.open(Path(config) if config else None, Path(folder) if folder else None)
    check(session)
    give_up = os.environ.get(GIVE_UP_VARIABLE, "60s")
    try:
        give_up_s = duration_ms(give_up) / 1000
    except ValueError as error:
        raise ConfigError(str(error), where=GIVE_UP_VARIABLE) from None

    def open_all(opened: ExitStack, stopping: Stopping) -> Opened:
        transport = FaustTransport(session)
        opened.callback(transport.close)
        opened.enter_context(transport.alone())
        return transport.recovered(watch(session, opened), stopping)

    return make_app(
        Parts(
            connection=session.settings.kafka_connection,
            batch_records=session.settings.stream.batch_records,
            topics=list(session.domain.topics),
            folder=session.state_folder / "faust",
            clock=session.clock,
            open_all=open_all,
            give_up_s=give_up_s,
        )
    )


def said(words: str) -> None:
    """Pauses and notices, for the log."""
    err.print(f"[yellow]{safe(words)}[/]")


class FaustTransport(KafkaTransport):
    """A cluster whose records Faust brings."""

    def recovered(self, watching: WorkerObserver, stopping: Stopping) -> Opened:
        """A driver at the end of the journal, and nobody else on it.

        Raises:
            StateError: another worker runs, or the journal isn't the one of the marks.
        """
        from stream.adapters.faust.gap_reader import GapReader
        from stream.adapters.faust.group import LoneGroup, Members, seed
        from stream.adapters.faust.source import FaustSource
        from stream.adapters.kafka.source import KafkaSource

        session, settings = self.session, self.session.settings
        topics, clock = session.domain.topics, session.clock
        members = Members(settings.kafka_connection, clock)
        journal, output = self.journal_and_output()
        group = LoneGroup(settings.kafka_connection, topics, clock, output)
        gaps = GapReader(settings.kafka_connection, clock, said)
        source = FaustSource(
            topics,
            clock,
            lambda: KafkaSource(settings.kafka_connection, topics, clock, said),
            gaps,
            watching,
        )
        self._open += [gaps.close, source.rest]
        driver = self.assembled(source, journal, output, group, said, watching, stopping)
        session.warm_up()
        driver.recover()
        source.rest()
        if not members.wait_until_none(said):  # our past self came as far as it could
            seed(settings.kafka_connection, driver.engine.positions)
        return driver, source, group
