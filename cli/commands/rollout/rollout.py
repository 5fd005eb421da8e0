"""`claimtrace rollout`: other models beside the champion, as shadows or on a share of claims."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from claimtrace.errors import StateError, UsageError

from ...console import out, print_json, safe, table
from ...wiring.workspace import CHAMPION, Workspace
from ..models.changes import Actor, Reason, check_reason, named, put_in_charge
from .plans import check_edition, last_plan
from .share import ppm_of, share_text

if TYPE_CHECKING:
    from claimtrace.decisions import ModelRef, RolloutRef
    from models.rollout.manifest import Guards, Rollout

app = typer.Typer(
    help="Try models on live claims: as shadows that only score, or as a canary that decides on a "
    "share of the policies. Without a command: what is in force.",
)
Share = Annotated[str, typer.Option(help="Share of the policies, such as 5% or 0.05.")]


@app.callback(invoke_without_command=True)
def default(ctx: typer.Context) -> None:
    """Show what is in force."""
    if ctx.invoked_subcommand is None:
        status(ctx)


@app.command()
def start(
    ctx: typer.Context,
    reason: Reason,
    canary: Annotated[
        int | None, typer.Option(help="The version that decides on a share of the policies.")
    ] = None,
    share: Annotated[str, typer.Option(help="Its share, such as 5% or 0.05.")] = "1%",
    shadow: Annotated[
        list[int] | None, typer.Option(help="A version that only scores; up to four.")
    ] = None,
    may_roll_back: Annotated[
        bool, typer.Option("--roll-back-by-itself", help="A breach of the guards ends it.")
    ] = False,
    actor: Actor = None,
) -> None:
    """Let other versions score beside the champion, from the stream's next plan on.

    Every claim is scored by all of them, and its decision says what each would have decided. The
    canary decides on the claims of a share of the policies: always the same policies, and those
    without a policy stay with the champion. Limits for the canary are those of the settings
    [guard]; a breach is an alert, and with --roll-back-by-itself the end of the roll-out.

    The roll-out ends by `rollout rollback`, by `rollout promote`, and whenever the champion
    changes.
    """
    from models.rollout.manifest import Canary, RolloutDraft

    workspace: Workspace = ctx.obj
    check_reason(reason)
    if canary is None and not shadow:
        raise UsageError("no version is named", where="--canary, --shadow",
                         hint="claimtrace models lists them; try --shadow first")  # fmt: skip
    ppm, registry = ppm_of(share), workspace.registry
    champion = registry.alias(CHAMPION)
    if champion is None:
        raise StateError("there is no champion to compare with", where=workspace.domain.name,
                         hint="claimtrace models promote puts a version in charge")  # fmt: skip
    current = registry.rollout_in_force()
    if current is not None:
        raise StateError(f"roll-out {current.version} is in force", where=workspace.domain.name,
                         hint="`claimtrace rollout grow` changes its share, `claimtrace rollout "
                         "rollback` ends it")  # fmt: skip
    for version in (canary, *(shadow or ())):
        if version == champion.version:
            raise UsageError(f"version {version} is champion", where="--canary, --shadow",
                             hint="name versions that are to be tried")  # fmt: skip
    check_edition(workspace)
    model = None if canary is None else _canary(workspace, canary)
    draft = RolloutDraft(
        created_at_ms=workspace.clock.now_ms(),
        champion=champion,
        canary=None if model is None else Canary(model, ppm, model.digest[:16]),
        shadows=[_model(workspace, version) for version in shadow or ()],
        guards=_guards(workspace),
        may_roll_back=may_roll_back,
    )
    ref = registry.start_rollout(
        draft, actor=named(actor), reason=reason, at_ms=draft.created_at_ms, expected=None
    )
    out.print(f"roll-out [bold]{ref.version}[/]: {_words(registry.rollout(ref))}; the stream takes "
              "it at its next batch")  # fmt: skip


@app.command()
def grow(ctx: typer.Context, share: Share, reason: Reason, actor: Actor = None) -> None:
    """Give the canary a greater share of the policies; those that it has stay with it."""
    from models.rollout.manifest import RolloutDraft

    workspace: Workspace = ctx.obj
    check_reason(reason)
    ppm, registry = ppm_of(share), workspace.registry
    current, rollout = _in_force(workspace)
    canary = rollout.canary
    if canary is None:
        raise UsageError("the roll-out in force has no canary", where=workspace.domain.name,
                         hint="end it, and start one with --canary")  # fmt: skip
    if ppm <= canary.share_ppm:
        raise UsageError(f"the canary has {share_text(canary.share_ppm)} already", where="--share",
                         hint="a greater share; `claimtrace rollout rollback` ends "
                         "it")  # fmt: skip
    fields = {name: getattr(rollout, name) for name in RolloutDraft.__struct_fields__}
    fields |= {"canary": msgspec.structs.replace(canary, share_ppm=ppm),
               "created_at_ms": workspace.clock.now_ms()}  # fmt: skip
    ref = registry.start_rollout(
        RolloutDraft(**fields), actor=named(actor), reason=reason,
        at_ms=fields["created_at_ms"], expected=current.version,
    )  # fmt: skip
    out.print(f"roll-out [bold]{ref.version}[/]: {_words(registry.rollout(ref))}; the stream takes "
              "it at its next batch")  # fmt: skip


@app.command()
def promote(ctx: typer.Context, reason: Reason, actor: Actor = None) -> None:
    """Put the canary in charge of all claims; the roll-out ends with that."""
    workspace: Workspace = ctx.obj
    check_reason(reason)
    _, rollout = _in_force(workspace)
    if rollout.canary is None:
        raise UsageError("the roll-out in force has no canary", where=workspace.domain.name,
                         hint="claimtrace models promote VERSION puts a shadow in charge"
                         )  # fmt: skip
    put_in_charge(
        workspace, rollout.canary.model.version, reason=reason, actor=actor,
        expected=rollout.champion.version,
    )  # fmt: skip
    out.print(f"{rollout.canary.model.label} is champion; the stream takes it at its next batch")


@app.command()
def rollback(ctx: typer.Context, reason: Reason, actor: Actor = None) -> None:
    """End the roll-out: the champion decides on all claims again, from the next plan on."""
    workspace: Workspace = ctx.obj
    check_reason(reason)
    current, rollout = _in_force(workspace)
    workspace.registry.end_rollout(
        actor=named(actor), reason=reason, at_ms=workspace.clock.now_ms(),
        expected=current.version,
    )  # fmt: skip
    out.print(f"roll-out {current.version} has ended; {rollout.champion.label} decides alone from "
              "the stream's next batch on")  # fmt: skip


@app.command()
def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the roll-out in force, and whether the stream's last plan names it."""
    workspace: Workspace = ctx.obj
    ref = workspace.registry.rollout_in_force()
    rollout = None if ref is None else workspace.registry.rollout(ref)
    plan = last_plan(workspace)
    planned = None if plan is None else plan.rollout
    if as_json:
        told = {"rollout": ref, "manifest": rollout, "plan": None if plan is None else plan.number,
                "planned": planned}  # fmt: skip
        print_json(told)
        return
    if rollout is None:
        out.print("no roll-out is in force: the champion decides alone")
    else:
        table("", ["what", "value"], [[name, safe(value)] for name, value in _lines(rollout)])
    if plan is None:
        out.print("[dim]the stream has written no plan yet[/]")
    elif planned == ref:
        out.print(f"[dim]the stream's last plan, {plan.number:,}, has it so[/]")
    else:
        named = "none" if planned is None else f"roll-out {planned.version}"
        out.print(f"[yellow]the stream's last plan, {plan.number:,}, names {named}: the next plan "
                  "takes the change[/]")  # fmt: skip


@app.command()
def history(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show all roll-outs: who started and ended them, when and why."""
    from models.registry.approvals_log import ROLLOUT

    registry = ctx.obj.registry
    entries = [entry for entry in registry.history() if entry.alias == ROLLOUT]
    if as_json:
        print_json(entries)
        return
    if not entries:
        out.print("no roll-out yet; [dim]claimtrace rollout start[/] begins one")
        return
    rows = [
        [str(e.version), _when(e.at_ms), e.act.removeprefix("rollout_"), safe(e.actor),
         safe(e.reason)]
        for e in entries
    ]  # fmt: skip
    table("", ["roll-out", "when", "what", "who", "why"], rows, under=1)


def _in_force(workspace: Workspace) -> tuple[RolloutRef, Rollout]:
    """Return the roll-out in force.

    Raises:
        UsageError: there is none.
    """
    ref = workspace.registry.rollout_in_force()
    if ref is None:
        raise UsageError("no roll-out is in force", where=workspace.domain.name,
                         hint="claimtrace rollout start begins one, claimtrace rollout history "
                         "shows those before")  # fmt: skip
    return ref, workspace.registry.rollout(ref)


def _model(workspace: Workspace, version: int) -> ModelRef:
    """Return a version that can serve.

    Raises:
        UsageError: there is no such version, or it was trained under other definitions.
    """
    ref = workspace.published(version)
    found = workspace.misfit(version)
    if found is not None:
        raise UsageError(f"version {version}: {found.words}", where=workspace.domain.name,
                         hint="train a new version under these definitions")  # fmt: skip
    return ref


def _canary(workspace: Workspace, version: int) -> ModelRef:
    """Return a version that can serve and may decide: no gate or person speaks against it."""
    from models.registry.approval import check_canary, failed_gates

    ref, registry = _model(workspace, version), workspace.registry
    check_canary(
        registry.approvals(), version, failed=failed_gates(registry.load(ref).manifest.metrics),
        four_eyes=workspace.settings.approval.four_eyes,
    )  # fmt: skip
    return ref


def _guards(workspace: Workspace) -> Guards:
    from claimtrace.clock import duration_ms
    from models.rollout.manifest import Guards

    guard = workspace.settings.guard
    return Guards(duration_ms(guard.window), guard.min_count, guard.referral_ratio,
                  guard.error_ratio, guard.unseen_ratio, guard.score_psi)  # fmt: skip


def _words(rollout: Rollout) -> str:
    canary = rollout.canary
    parts = [] if canary is None else [
        f"{canary.model.label} decides on {share_text(canary.share_ppm)} of the policies"
    ]  # fmt: skip
    if rollout.shadows:
        parts.append(", ".join(ref.label for ref in rollout.shadows) + " score as shadows")
    return safe("; ".join(parts))


def _lines(rollout: Rollout) -> list[list[str]]:
    guards: Any = rollout.guards
    canary = rollout.canary
    end = "ends the roll-out" if rollout.may_roll_back else "is an alert"
    lines = [["roll-out", f"{rollout.version}, since {_when(rollout.created_at_ms)} UTC"],
             ["champion", rollout.champion.label]]  # fmt: skip
    if canary is not None:
        lines.append(["canary", f"{canary.model.label}, {share_text(canary.share_ppm)} of the "
                      "policies"])  # fmt: skip
    lines += [["shadow", ref.label] for ref in rollout.shadows]
    if canary is not None:
        lines.append(["guards", f"referrals x {guards.referral_ratio:g}, errors "
                      f"{guards.error_ratio:.2%}, unseen {guards.unseen_ratio:.2%}, PSI "
                      f"{guards.score_psi:g}, in tiles of {guards.window_ms / 60_000:g} minutes "
                      f"with {guards.min_count:,} claims; a breach {end}"])  # fmt: skip
    return lines


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
