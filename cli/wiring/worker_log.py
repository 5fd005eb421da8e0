"""The log of a worker without a terminal: its first and last line, errors with their trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from claimtrace import __version__
from claimtrace.errors import ClaimtraceError
from claimtrace.settings.schema import KINESIS, Settings, StreamSettings

from ..console import err, notices_to

if TYPE_CHECKING:
    from stream.adapters.reporting.store_names import StoreNames
    from stream.worker.observer import WorkerObserver

    from .workspace import Workspace

_FAULT, _INTERRUPTED = 70, 130
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
        except ClaimtraceError as error:
            log_event("error", f"ended by an error: {error.what}", where=error.where,
                      fix=error.hint)  # fmt: skip
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as interrupt:
            log_event("info", "stopped before the first batch; the same command goes on")
            raise typer.Exit(_INTERRUPTED) from interrupt
        except Exception as error:
            log_fault(error)
            raise typer.Exit(_FAULT) from error


def start(workspace: Workspace, opened: ExitStack) -> None:
    """Write log lines to standard error until `opened` ends."""
    from stream.adapters.reporting.log_lines import LOG, end_log, start_log

    log = workspace.settings.log
    handler = start_log(sys.stderr, log.format, log.level, secrets_of(workspace.settings))
    opened.callback(end_log, handler)
    opened.enter_context(notices_to(LOG.warning))


def log_end(reason: str, counts: Any, seconds: float) -> None:
    """Log the end of a run, with the counts of its records."""
    from stream.adapters.reporting.log_lines import log_event

    told = {name: getattr(counts, name) for name in counts.__dataclass_fields__}
    log_event("info", "end", reason=reason, seconds=round(seconds, 3), **told)


def log_observer(workspace: Workspace) -> WorkerObserver:
    """Return the observer that logs what the driver does."""
    from stream.adapters.reporting.worker_log import WorkerLog

    return WorkerLog(store_names(workspace))


def store_names(workspace: Workspace) -> StoreNames:
    """Return the names of this workspace's stores, as errors give them."""
    from stream.adapters.reporting.store_names import StoreNames

    return StoreNames(workspace.domain.topics, places_of(workspace))


def places_of(workspace: Workspace) -> dict[str, str]:
    """Return where the stores of a workspace are, each with the word that names it."""
    settings = workspace.settings
    places = {
        str(workspace.log_path): "log",
        str(workspace.state_folder / "snapshots"): "snapshots",
        str(workspace.state_folder): "journal",
        str(workspace.models_folder): "models",
        settings.offline or str(workspace.folder / "offline"): "offline",
    }
    if settings.source.startswith(KINESIS):
        name = settings.source.removeprefix(KINESIS).strip("/")
        places |= {f"{name}.{topic}": "log" for topic in workspace.domain.topics}
        places |= {settings.kinesis.table: "journal"}
    elif settings.source != "local":
        places |= {settings.kafka.group: "log"}
    return places


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
