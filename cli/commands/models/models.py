"""`claimtrace models`: the registry's versions, who approved what, and what was live when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, safe, table
from ...times import time_of
from ...wiring.workspace import CHAMPION
from . import changes, comparing, difference, export, lineage, report
from .fitness import fit_row, misfits
from .mirror import mirror_app
from .registry_proof import MODEL_PARTS, check_models, show_models_checked
from .values import fitting, flat

if TYPE_CHECKING:
    from models.registry.approvals_log import Entry
    from models.registry.registry import ModelRegistry

_EPILOG = (
    "A version is pending when it is published, then approved or rejected by a person, and in the "
    "end retired. `claimtrace train` puts a better version in charge by itself where it passed all "
    "gates, unless training.promote or approval.four_eyes say otherwise."
)

app = typer.Typer(
    help="The registry: versions, who approved what, and what was live when.", epilog=_EPILOG
)
for _command in (
    changes.approve, changes.promote, changes.rollback, changes.reject, changes.retire,
    difference.diff, comparing.compare, report.report, lineage.lineage, export.export,
):  # fmt: skip
    app.command()(_command)
app.add_typer(mirror_app, name="mirror")

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Decide about versions, and look back at who decided what.

    Without a command the versions are listed.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.obj.registry, as_json=as_json)


@app.command("list")
def list_models(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the versions: state, gates that failed, which of them is champion."""
    _list(ctx.obj.registry, as_json=as_json)


def _list(registry: ModelRegistry, *, as_json: bool) -> None:
    from models.registry.approval import failed_gates

    log = registry.approvals()
    states, aliases = log.states(), log.aliases()
    found = []
    for ref in registry.versions():
        manifest = registry.load(ref).manifest
        named = ", ".join(name for name, version in aliases.items() if version == ref.version)
        failed, waivers = failed_gates(manifest.metrics), log.waivers(ref.version)
        found.append((ref, manifest, named, failed, [gate for gate in failed if gate in waivers]))
    if as_json:
        print_json([{"model": ref, "alias": alias, "state": states[ref.version],
                     "failed_gates": failed, "waived_gates": waived,
                     "created_at_ms": m.created_at_ms, "metrics": m.metrics}
                    for ref, m, alias, failed, waived in found])  # fmt: skip
        return
    if not found:
        out.print("no model yet; [dim]claimtrace train[/] makes one")
        return
    rows = [
        [ref.label, states[ref.version], alias,
         ", ".join(safe(gate) + " (waived)" * (gate in waived) for gate in failed),
         _when(m.created_at_ms)[:-3], ref.digest[:12], f"{m.thresholds.refer:.4f}",
         f"{m.capacity_per_day:g}"]
        for ref, m, alias, failed, waived in found
    ]  # fmt: skip
    table("", ["model", "state", "alias", "failed gates", "made", "digest", "refer at", "a day"],
          rows)  # fmt: skip


@app.command()
def history(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the approvals log: what happened to the models, who did it, when and why.

    Nobody has proven who they are on a command line: so names are marked as unproven. Beside a name
    that was given by --actor stands the user of the machine.
    """
    entries = ctx.obj.registry.history()
    if as_json:
        print_json(entries)
        return
    rows = [
        [str(e.number), _when(e.at_ms), e.act, str(e.version or ""), e.alias or "", safe(_who(e)),
         safe(_why(e))]
        for e in entries
    ]  # fmt: skip
    table("", ["", "when", "what", "version", "alias", "who", "why"], rows, under=1)


@app.command()
def show(
    ctx: typer.Context,
    version: Annotated[int, typer.Argument(help="The number of a version.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show one version: from what it was trained, how good it is, what happened to it."""

    registry = ctx.obj.registry
    artefact = registry.load(version)
    m, ref = artefact.manifest, artefact.ref
    if as_json:
        print_json({"model": ref, "manifest": m, "bytes": len(artefact.model_json)})
        return
    log = registry.approvals()
    aliases = [name for name, number in log.aliases().items() if number == version]
    rows = [
        ["model", ref.label + (f", {', '.join(aliases)}" if aliases else "")],
        ["state", str(log.state(version))],
        ["made", f"{_when(m.created_at_ms)} UTC"],
        ["digest", ref.digest],
        ["definitions", f"{m.definitions} ({m.domain}, {len(m.features):,} features)"],
        fit_row(ctx.obj, m),
        ["model", f"{m.model_digest} ({m.model_bytes:,} bytes)"],
        ["thresholds", f"refer at {m.thresholds.refer:.4f}, review at {m.thresholds.review:.4f}, "
         f"for {m.capacity_per_day:g} investigations a day"],
    ]  # fmt: skip
    if report.REPORT_FILE in m.attached:
        rows.append(["report", f"claimtrace models report {version}"])
    waivers = log.waivers(version)
    rows += [
        [f"gate {name}", words + (f"; waived by {_who(waivers[name])}: {waivers[name].reason}"
                                  if name in waivers else "")]
        for name, words in _gates(m.metrics)
    ]  # fmt: skip
    rows += [
        ["history", f"{_when(e.at_ms)} {e.act} {e.alias or ''} by {_who(e)}: {_why(e)}"]
        for e in log.about(version)
    ]
    metrics = {name: part for name, part in m.metrics.items() if name != "gates"}
    rows += [[name, value] for part in (metrics, m.lineage) for name, value in flat(part)]
    table("", ["what", "value"], [[safe(name), safe(fitting(value))] for name, value in rows])


@app.command("live-at")
def live_at(
    ctx: typer.Context,
    when: Annotated[str, typer.Argument(help="A time, such as 2026-03-01T12:00:00Z.")],
    alias: Annotated[str, typer.Option(help="Which alias.")] = CHAMPION,
) -> None:
    """Show which model was live at a time, and who had approved it.

    The time is that of approvals, on the clock of this machine. For a claim of the past, which may
    have been decided much later, its decision names the model.
    """
    at_ms = time_of(when, "WHEN")
    registry = ctx.obj.registry
    known = {CHAMPION} | {e.alias for e in registry.history() if e.alias}
    if alias not in known:
        raise UsageError(f"no version was ever called {alias}", where="--alias",
                         hint="one of " + ", ".join(sorted(known)))  # fmt: skip
    entry = registry.live_at(alias, at_ms)
    if entry is None:
        out.print(f"no {safe(alias)} was live then")
        return
    out.print(f"{alias} was version [bold]{entry.version}[/] since {_when(entry.at_ms)}, approved "
              f"by {safe(entry.actor)}: {safe(entry.reason)}")  # fmt: skip


@app.command()
def check(
    ctx: typer.Context,
    require: Annotated[
        str, typer.Option(help="Parts that must be covered, with commas: head, journal.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Prove that no version and no line of the approvals log was changed or cut off.

    The log is compared with its head, which is kept beside it, and with the models that the
    journal of the stream names. Exit code 1 when something was changed. It also says which version
    in charge no longer fits the definitions.
    """
    from stream.proofs.coverage import missing_parts, required_parts

    required = required_parts(require, MODEL_PARTS)
    result = check_models(ctx.obj)
    if not result.problems:  # only sound manifests can be read
        result = msgspec.structs.replace(result, misfits=misfits(ctx.obj))
    show_models_checked(result, required, as_json=as_json)
    if result.problems or missing_parts(result.covered, required):
        raise typer.Exit(1)


def _who(entry: Entry) -> str:
    """Return the actor, and the user of the machine where that is another name."""
    user = entry.user or ""
    return entry.actor if entry.actor.startswith(user) else f"{entry.actor}, user {user}"


def _why(entry: Entry) -> str:
    return entry.reason + (f" (waives {', '.join(entry.waived)})" if entry.waived else "")


def _gates(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return name and finding of each gate of a manifest; older ones have none."""
    gates = metrics.get("gates")
    return [
        (str(gate.get("name")), f"{gate.get('state')}: {gate.get('words')} "
         f"[{gate.get('evidence')}]")
        for gate in (gates if isinstance(gates, list) else ())
        if isinstance(gate, dict)
    ]  # fmt: skip


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
