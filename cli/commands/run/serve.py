"""`claimtrace serve`: decisions and scores over HTTP, with the worker in the same process."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from claimtrace.errors import ConfigError, UsageError

from ...console import notify, out
from ...stream_run import Stopped, run_stream, show_ran
from ...wiring.worker_log import worker_log
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from ...wiring.serving import HttpServer


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

    from stream.adapters.process.stop_signals import StopSignals

    from ...wiring.serving import HttpServer, Served

    workspace: Workspace = ctx.obj if listen is None else listening(ctx.obj, listen)
    registry = CollectorRegistry()
    with StopSignals() as stopping, worker_log(workspace, "serve") as logs, ExitStack() as opened:
        if not follow:
            prepare(workspace)
        config = ctx.find_root().params.get("config")
        served = Served(workspace, registry, notify, follows=follow, config=config)
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

        log_event("info", "serving", address=server.address)
        return
    out.print(f"claimtrace answers at [bold]{server.address}[/]  [dim](Ctrl-C ends it)[/]")
    out.print(f"[dim]{server.line}[/]")
    out.print(f"  routes    {server.address}/v1/docs")
    out.print(f"  decide    curl {server.address}/v1/decisions -d @claim.json")
    out.print(f"  look      curl {server.address}/v1/scores -d @claim.json")
