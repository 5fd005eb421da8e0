"""`claimtrace serve`: decisions and scores over HTTP, with the worker in the same process."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from claimtrace.errors import ConfigError, UsageError

from ...console import notify, out
from ...stream_run import Stopped, run_stream, show_ran
from ...wiring.worker_log import worker_log
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ...wiring.serving import HttpServer

_STOP_CHECK_S: Final = 0.1


def serve(
    ctx: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option("--listen", help="ADDRESS:PORT; port 0: any. Default: the setting "
                     "`serve.listen`, 127.0.0.1:8470.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Follow the workers: apply every plan, decide on nothing.")
    ] = False,
    no_worker: Annotated[
        bool,
        typer.Option("--no-worker", help="Only a door beside workers: any number of them on one "
                     "log. The setting `serve.lookup` names a server with a worker.")
    ] = False,
) -> None:  # fmt: skip
    """Answer over HTTP: have claims decided, ask what would be decided, read decisions.

    The process is a worker, too: it takes claims from the log as `claimtrace stream` does, those
    that come over HTTP among them. A claim that is sent to POST /v1/decisions goes onto the log
    like any other, and the answer is its sealed decision: exact, once, replayable.

    With --follow it is no worker: it applies the plans of those that run elsewhere, writes no plan
    and no decision, and answers looks from its own copy of the state. Any number may follow.

    On 127.0.0.1 everybody on this machine may call, until there is a key: `claimtrace keys add`.
    Any other address needs keys, and TLS or a proxy that has it. Ctrl-C ends it; nothing is lost.

    See /v1/docs for all routes. Needs the extra: pip install 'claimtrace[serve]'.
    """
    check_extra()
    from prometheus_client import CollectorRegistry

    from serving.adapters.evidence.service import EvidenceService
    from stream.adapters.process.stop_signals import StopSignals

    from ...wiring.serving import HttpServer, Served
    from ...wiring.serving_rights import check_start
    from .serve_evidence import KeptEvidence

    workspace: Workspace = ctx.obj if listen is None else listening(ctx.obj, listen)
    check_start(workspace, workspace.settings.serve.listen.rpartition(":")[0].strip("[]"))
    registry = CollectorRegistry()
    if follow and no_worker:
        raise UsageError("a follower has an engine, a door without a worker has none",
                         where="--follow", hint="leave one of both out")  # fmt: skip
    if no_worker:
        serve_without_worker(workspace, registry)
        return
    with StopSignals() as stopping, worker_log(workspace, "serve") as logs, ExitStack() as opened:
        if not follow:
            prepare(workspace)
        config = ctx.find_root().params.get("config")
        kept = KeptEvidence(workspace)
        evidence = EvidenceService(kept.as_of_now, at_end=kept.close)
        served = Served(workspace, registry, notify, follows=follow, config=config,
                        evidence=evidence)  # fmt: skip
        opened.callback(served.close)
        server = HttpServer(workspace, served, notify)
        opened.callback(server.close)
        server.start()
        tell_started(server, logs=logs)
        try:
            ran = run_stream(workspace, until_end=False, quiet=True, logs=logs, stopping=stopping,
                             beside=served, registry=registry)  # fmt: skip
        except Stopped as stopped:
            ran = stopped.ran
    show_ran(ran)


def serve_without_worker(workspace: Workspace, registry: CollectorRegistry) -> None:
    """Answer until told to stop; other processes decide.

    Raises:
        UsageError: there is no embedded log: no worker has begun one.
    """
    from stream.adapters.process.stop_signals import StopSignals

    from ...wiring.serving import HttpServer, open_door
    from ...wiring.serving_door import Unattended, lookup_of

    if workspace.settings.source == "local" and not workspace.log_path.exists():
        raise UsageError("there is no log yet", where=str(workspace.log_path),
                         hint="begin with a worker: claimtrace serve")  # fmt: skip
    with StopSignals() as stopping, worker_log(workspace, "serve") as logs, ExitStack() as opened:
        door = open_door(workspace, workspace.folder / "serve", lambda: None, notify,
                         lookup_of(workspace, notify))  # fmt: skip
        served = Unattended(door, registry)
        opened.callback(served.close)
        server = HttpServer(workspace, served, notify)
        opened.callback(server.close)
        server.start()
        tell_started(server, logs=logs)
        while not stopping():
            workspace.clock.sleep(_STOP_CHECK_S)


def check_extra() -> None:
    """Refuse to begin without the libraries of the extra `serve`.

    Raises:
        ConfigError: they aren't installed; with the command that installs them.
    """
    try:
        import jwt  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} isn't installed", where="claimtrace serve",
                          hint="pip install 'claimtrace[serve]'") from error  # fmt: skip


def listening(workspace: Workspace, listen: str) -> Workspace:
    """Return the workspace with another address."""
    host, found, port = listen.rpartition(":")
    if not (found and host and port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise UsageError(f"{listen} is no ADDRESS:PORT", where="--listen",
                         hint="such as 127.0.0.1:8470")  # fmt: skip
    settings = workspace.settings
    changed = msgspec.structs.replace(
        settings, serve=msgspec.structs.replace(settings.serve, listen=listen)
    )
    return Workspace(changed)


def prepare(workspace: Workspace) -> None:
    """Make an embedded log with its topics, if there is none yet."""
    if workspace.settings.source != "local":
        return
    from stream.adapters.embedded.log import EmbeddedOutput

    from ...transports.choice import open_transport

    # a journal whose log is gone is refused here
    with open_transport(workspace, create=True), workspace.log(create=True) as log:
        workspace.make_topics(log)
        EmbeddedOutput(log, workspace.settings.partitions)


def tell_started(server: HttpServer, *, logs: bool) -> None:
    """Say where it answers, how to try it, and how to end it."""
    if logs:
        from stream.adapters.reporting.log_lines import log_event

        log_event("info", "serving", address=server.address, callers=server.line)
        return
    out.print(f"claimtrace answers at [bold]{server.address}[/]  [dim](Ctrl-C ends it)[/]")
    out.print(f"[dim]{server.line}[/]")
    out.print(f"  routes    {server.address}/v1/docs")
    out.print(f"  decide    curl {server.address}/v1/decisions -d @claim.json")
    out.print(f"  look      curl {server.address}/v1/scores -d @claim.json")
