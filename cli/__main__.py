"""The command line; see `cli.commands` for what each command does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from claimtrace import __version__
from claimtrace.errors import ClaimtraceError, UsageError

from .commands.events import producers, replay, simulate, topics
from .commands.explain import explain
from .commands.inspect import definitions, features, offline, score, seal, verify
from .commands.keep import backup, restore
from .commands.models import models, train
from .commands.pipeline import pipeline
from .commands.read import dead, decisions, top
from .commands.rights import audit, keys
from .commands.rollout import rollout
from .commands.run import faust, serve, stream, upgrade
from .commands.start import demo, doctor, init
from .console import err, readable_output, safe, show_error, silence_output, write_trace
from .mistakes import check_names, mistake
from .stopped import COMMAND, INTERRUPTED, words
from .wiring.workspace import Workspace

_OPTIONS = "claimtrace --help lists the commands, --help after one its options"

app = typer.Typer(
    name="claimtrace",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Streaming fraud detection for insurance claims.

    Every decision exact, explained down to the rows it counted, and replayable bit for bit.

    A first round, without any server:

        claimtrace simulate            # a year of claims on an embedded log

        claimtrace stream --until-end  # decide on each of them

        claimtrace train               # a model from what was served

        claimtrace verify              # replay all decisions, byte for byte

    `claimtrace demo` does all of it in a few minutes.""",
)


def _print_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", "-f", help="Where log, state, models and offline store lie."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file; default claimtrace.toml.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", help="local, kafka://host:port, or kinesis://name."),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Read the settings once, before any command."""
    COMMAND.set(ctx.invoked_subcommand or "")
    doctor.check_rooms()
    ctx.obj = Workspace.open(config, folder, source)


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


_START, _EVENTS, _RUN = "Start here", "Put events on a log", "Run the stream"
_MODELS, _INSPECT = "Train and approve models", "Look at decisions, and prove them"
_KEEP, _RIGHTS = "Back up and restore", "Say who may call"

app.command(rich_help_panel=_START)(demo.demo)
app.command(rich_help_panel=_START)(doctor.doctor)
app.command(rich_help_panel=_START)(init.init)
app.command(rich_help_panel=_START)(version)
app.command(rich_help_panel=_EVENTS)(simulate.simulate)
app.command(rich_help_panel=_EVENTS)(replay.replay)
app.command(rich_help_panel=_EVENTS)(producers.producers)
app.add_typer(topics.app, name="topics", rich_help_panel=_EVENTS)
app.command(rich_help_panel=_RUN)(stream.stream)
app.command(rich_help_panel=_RUN)(serve.serve)
app.command(rich_help_panel=_RUN)(faust.faust)
app.command(rich_help_panel=_RUN)(upgrade.upgrade)
app.command(rich_help_panel=_RUN)(top.top)
app.command(rich_help_panel=_MODELS)(train.train)
app.add_typer(pipeline.app, name="pipeline", rich_help_panel=_MODELS)
app.add_typer(models.app, name="models", rich_help_panel=_MODELS)
app.add_typer(rollout.app, name="rollout", rich_help_panel=_MODELS)
app.command(rich_help_panel=_INSPECT)(explain.explain)
app.add_typer(decisions.app, name="decisions", rich_help_panel=_INSPECT)
app.add_typer(dead.app, name="dead", rich_help_panel=_INSPECT)
app.command(rich_help_panel=_INSPECT)(score.score)
app.add_typer(features.features_app, name="features", rich_help_panel=_INSPECT)
app.add_typer(definitions.definitions_app, name="definitions", rich_help_panel=_INSPECT)
app.command(rich_help_panel=_INSPECT)(verify.verify)
app.command(rich_help_panel=_INSPECT)(seal.seal)
app.add_typer(offline.offline_app, name="offline", rich_help_panel=_INSPECT)
app.add_typer(keys.app, name="keys", rich_help_panel=_RIGHTS)
app.add_typer(audit.app, name="audit", rich_help_panel=_RIGHTS)
app.command(rich_help_panel=_KEEP)(backup.backup)
app.command(rich_help_panel=_KEEP)(restore.restore)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; a user's mistake never shows a stack trace."""
    COMMAND.set("")
    readable_output()
    try:
        check_names(sys.argv[1:] if arguments is None else arguments)
        answer = app(args=arguments, standalone_mode=False)
        return _interrupted() if answer == INTERRUPTED else int(answer or 0)
    except typer.Exit as exit_:
        return exit_.exit_code
    except typer.TyperException as error:
        show_error(UsageError(error.format_message(), hint=_OPTIONS))
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except ClaimtraceError as error:
        show_error(error)
        return error.exit_code
    except (BrokenPipeError, SystemExit) as left:
        if isinstance(left, SystemExit) and not isinstance(left.__context__, BrokenPipeError):
            raise
        silence_output()
        return 0
    except Exception as error:
        return _unexpected(error)


def _interrupted() -> int:
    """Say what remains after Ctrl-C, which typer answers by the exit code alone."""
    if told := words():
        err.print(f"[yellow]stopped[/]: {told}", soft_wrap=True)
    return INTERRUPTED


def _unexpected(error: Exception) -> int:
    """Show an error that no code of ours has named, and return the exit code for it."""
    users = mistake(error)
    if users is not None:
        show_error(users)
        return users.exit_code
    log_file = write_trace(error, Path("claimtrace.log"))
    err.print(f"[bold red]a fault of ours:[/] {safe(type(error).__name__)}: {safe(error)}")
    if log_file is not None:
        err.print(f"  [dim]the trace is in {log_file}; please send it with your report[/]")
    return 70


if __name__ == "__main__":
    sys.exit(main())
