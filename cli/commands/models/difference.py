"""`claimtrace models diff`: what two versions don't have in common."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from ...console import out, print_json, safe, table
from ...wiring.workspace import Workspace
from .values import fitting, flat

_LONG = ("reference", "baselines")
"""Parts of a manifest that are always different, and no line for a reader."""


def diff(
    ctx: typer.Context,
    one: Annotated[int, typer.Argument(help="The number of a version.")],
    other: Annotated[int, typer.Argument(help="The number of another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what two versions don't have in common: data, settings, quality, features."""
    workspace: Workspace = ctx.obj
    parts = [_values(workspace, version) for version in (one, other)]
    names = sorted({name for part in parts for name in part})
    found = [
        (name, *(part.get(name, "") for part in parts))
        for name in names
        if parts[0].get(name) != parts[1].get(name)
    ]
    if as_json:
        print_json([dict(zip(("what", str(one), str(other)), row, strict=True)) for row in found])
        return
    if not found:
        out.print(f"versions {one} and {other} differ in nothing")
        return
    rows = [[safe(fitting(value)) for value in row] for row in found]
    table("", ["what", f"version {one}", f"version {other}"], rows)


def _values(workspace: Workspace, version: int) -> dict[str, str]:
    manifest = msgspec.json.encode(workspace.registry.load(version).manifest)
    parts: dict[str, Any] = msgspec.json.decode(manifest)
    gates = parts["metrics"].pop("gates", [])
    parts |= {f"gate {gate['name']}": f"{gate['state']}: {gate['words']}" for gate in gates}
    return dict(flat({name: each for name, each in parts.items() if name not in _LONG}))
