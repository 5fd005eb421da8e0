"""The log of a worker without a terminal: its first and last line, errors with their trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from claimtrace import __version__
from claimtrace.errors import ClaimtraceError
from claimtrace.settings.schema import Settings, StreamSettings

from ..console import err, notices_to
from ..mistakes import mistake
from ..stopped import INTERRUPTED, have_told, words

if TYPE_CHECKING:
    from .workspace import Workspace

_FAULT = 70
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@contextmanager
def worker_log(workspace: Workspace, kind: str) -> Iterator[bool]:
    """Log the life of a worker to standard error, unless that is a terminal; yields whether.

    An error is logged here (a fault of the product with its trace) and ends the command with its
    code, so that nothing but log lines is on standard error.
    """
    if err.is_terminal:
        yield False
        return
    from stream.adapters.reporting.log_lines import log_event, log_fault

    with ExitStack() as opened:
        start(workspace, opened)
        log_event("info", "start", worker=kind, version=__version__, pid=os.getpid(),
                  domain=workspace.settings.domain, source=workspace.settings.source,
                  folder=workspace.folder)  # fmt: skip
        try:
            yield True
        except KeyboardInterrupt as interrupt:
            log_event("info", "stopped before the first batch; the same command goes on")
            have_told()
            raise typer.Exit(INTERRUPTED) from interrupt
        except Exception as error:
            named = error if isinstance(error, ClaimtraceError) else mistake(error)
            if named is None:
                log_fault(error)
                raise typer.Exit(_FAULT) from error
            log_event("error", f"ended by an error: {named.what}", where=named.where,
                      fix=named.hint)  # fmt: skip
            raise typer.Exit(named.exit_code) from error


def tell_stopped() -> None:
    """Log what remains after Ctrl-C, instead of a line on the terminal."""
    from stream.adapters.reporting.log_lines import log_event

    log_event("info", f"stopped: {words()}")
    have_told()


def start(workspace: Workspace, opened: ExitStack) -> None:
    """Write log lines to standard error until `opened` ends."""
    from stream.adapters.reporting.log_lines import LOG, end_log, start_log

    log = workspace.settings.log
    handler = start_log(sys.stderr, log.format, log.level, secrets_of(workspace.settings))
    opened.callback(end_log, handler)
    opened.enter_context(notices_to(LOG.warning))


def log_end(reason: str, ran: Any) -> None:
    """Log the end of a `cli.stream_run.Ran`, with the counts of its records."""
    from stream.adapters.reporting.log_lines import log_event

    told = {name: getattr(ran.counts, name) for name in ran.counts.__dataclass_fields__}
    log_event("info", "end", reason=reason, seconds=round(ran.seconds, 3), **told)


def end_of_process(*, logs: bool) -> Callable[[int], None]:
    """Return what ends a process that can't end in an orderly way: with its line, or a log line."""
    from stream.adapters.process.stop_signals import end_process, what_remains

    if not logs:
        return end_process
    from stream.adapters.reporting.log_lines import write_last

    def end(exit_code: int) -> None:
        write_last(f"ended at once: {what_remains(exit_code)}")
        os._exit(exit_code)

    return end


def secrets_of(settings: Settings) -> list[str]:
    """Return the texts that must not be in a log: passwords, keys, and those in their files."""
    security, schemas = settings.security, settings.schemas
    found = [security.password, security.key_password, schemas.password]
    found += [os.environ.get(name, "") for name in _SECRET_VARIABLES]
    if settings.stream.hash_key != StreamSettings().hash_key:
        found.append(settings.stream.hash_key)
    for path in (security.password_file, schemas.password_file):
        if path:
            try:
                found.append(Path(path).read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError):
                continue  # whoever needs the file says what is wrong with it
    return [text for text in found if text]
