"""`claimtrace models lineage`: what a version came from, and where it was in charge."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, safe
from ...mistakes import check_writable
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from models.lineage.graph import Direction, Graph, Node, Step

_DIGITS_SHOWN = 12


def lineage(
    ctx: typer.Context,
    of: Annotated[
        str,
        typer.Argument(
            metavar="VERSION|DIGEST",
            help="A version's number, or the first "
            "characters of a digest: of data, definitions, settings.",
        ),
    ],
    up: Annotated[bool, typer.Option("--up", help="Only what it came from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what came from it.")] = False,
    openlineage: Annotated[
        Path | None,
        typer.Option(help="Write the versions met as OpenLineage events to this new file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print nodes and edges as JSON.")] = False,
) -> None:
    """Show what a version came from, and what came of it: acts, and times in charge.

    From a version up to its data, definitions and settings; from these down to all versions made
    of them. The digests in the tree can be asked for in turn.

    The events for OpenLineage are JSON, one a line, as its file transport writes them.
    """
    workspace: Workspace = ctx.obj
    if up and down:
        raise UsageError("both ways are shown without an option", where="--up, --down",
                         hint="give one of them, or none")  # fmt: skip
    if openlineage is not None:
        _check_new(openlineage)
    graph = _graph(workspace)
    start = _start(graph, of)
    ways: list[Direction] = ["up"] if up else ["down"] if down else ["up", "down"]
    walks = {way: list(graph.walk(start.id, way)) for way in ways}
    part = graph.part(step.node.id for steps in walks.values() for step in steps)
    if openlineage is not None:
        _export(workspace, part, openlineage)
    if as_json:
        print_json({"start": start.id, "nodes": list(part.nodes.values()), "edges": part.edges})
        return
    for way, steps in walks.items():
        out.print(f"[bold]{'what it came from' if way == 'up' else 'what came from it'}[/]")
        for step in steps:
            _show(step)


def _graph(workspace: Workspace) -> Graph:
    from models.lineage.graph import lineage_graph

    registry = workspace.registry
    versions = [(ref, registry.load(ref).manifest) for ref in registry.versions()]
    if not versions:
        raise UsageError("there is no model yet", where=workspace.domain.name,
                         hint="claimtrace train makes one")  # fmt: skip
    return lineage_graph(workspace.domain.name, versions, registry.history())


def _start(graph: Graph, of: str) -> Node:
    found = graph.find(of)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{of} is the beginning of {len(found)} digests",
                         where=", ".join(_name(each.id) for each in found[:3]),
                         hint="write more of it")  # fmt: skip
    raise UsageError(
        f"there is no version or digest {of}", where="models lineage",
        hint="claimtrace models shows the versions; of a digest, write 4 characters at least",
    )  # fmt: skip


def _show(step: Step) -> None:
    """Print a node as one line, indented by its depth; wider ones wrap below their text."""
    from ...console import hanging

    node = step.node
    when = f" {_when(node.at_ms)}" if node.at_ms is not None else ""
    if node.what == "dataset":
        when = f", as known at{when}"
    if node.what == "in charge":
        until_ms = node.facts.get("until_ms")
        when = f" from{when} {'on' if until_ms is None else f'until {_when(until_ms)}'}"
    how = f"[dim]{step.association}[/] " if step.association else ""
    told = "[dim](above)[/]" if step.again else f"{safe(node.words)}{when}"
    hanging(" " * (2 * step.depth), f"{how}{_name(node.id)} {told}", 2 * step.depth + 2)


def _name(node_id: str) -> str:
    what, _, content = node_id.partition(":")
    return f"{what} {safe(content[:_DIGITS_SHOWN])}"


def _export(workspace: Workspace, part: Graph, path: Path) -> None:
    import claimtrace
    from claimtrace.adapters.files.atomic_files import write_file
    from models.lineage.openlineage import as_lines, openlineage_events

    registry = workspace.registry
    numbers = {node.facts["version"] for node in part.nodes.values() if node.what == "version"}
    versions = [
        (ref, registry.load(ref).manifest) for ref in registry.versions() if ref.version in numbers
    ]
    events = openlineage_events(
        versions, registry.history(), name=workspace.domain.name,
        store=_namespace(workspace.settings.offline or workspace.folder / "offline"),
        registry=_namespace(workspace.settings.models or str(workspace.models_folder)),
        release=claimtrace.__version__,
    )  # fmt: skip
    write_file(path, as_lines(events))
    typer.echo(f"{len(events)} events in {path}", err=True)


def _namespace(place: str | Path) -> str:
    """Return a place as a URI without a slash at its end, as OpenLineage names data sources."""
    text = str(place)
    return text.rstrip("/") if "://" in text else Path(text).resolve().as_uri()


def _check_new(path: Path) -> None:
    if path.exists():
        raise UsageError("the file exists already", where=str(path), hint="name a new one")
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent),
                         hint="make it first, or name another place")  # fmt: skip
    check_writable(path.parent)


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
