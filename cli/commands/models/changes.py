"""`claimtrace models approve`, `promote`, `rollback`, `reject`, `retire`: what people decide."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import StateError, UsageError

from ...console import out
from ...wiring.workspace import CHAMPION, Workspace, os_user

if TYPE_CHECKING:
    from models.registry.approvals_log import ApprovalsLog

Version = Annotated[int, typer.Argument(help="The number of a version.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the approvals log.")]
Actor = Annotated[
    str | None, typer.Option(help="Who decides; the user of this machine by default.")
]
Waive = Annotated[
    list[str] | None,
    typer.Option(help="A failed gate to let pass, such as bias; may be given again."),
]


def approve(
    ctx: typer.Context,
    version: Version,
    reason: Reason,
    waive: Waive = None,
    actor: Actor = None,
) -> None:
    """Record that a version may be put in charge; it isn't yet.

    `models show` has what to decide on: the gates with their evidence, quality, lineage. A gate
    that failed keeps a version pending until somebody lets it pass by --waive, with the reason.
    With approval.four_eyes, who trained a version can't approve it, and another person must promote
    it.
    """
    from models.registry.approval import check_approval

    workspace: Workspace = ctx.obj
    _check(workspace, version, reason)
    failed, waived, registry = _failed(workspace, version), waive or [], workspace.registry

    def check(log: ApprovalsLog) -> None:
        check_approval(
            log, version, failed=failed, waived=waived, user=registry.user,
            four_eyes=workspace.settings.approval.four_eyes,
        )  # fmt: skip

    registry.approve(
        version, actor=named(actor), reason=reason, at_ms=workspace.clock.now_ms(),
        waived=waived, check=check,
    )  # fmt: skip
    label = f"{workspace.domain.name}/{version}"
    out.print(f"{label} is approved; [dim]claimtrace models promote {version}[/] puts it in charge")


def promote(
    ctx: typer.Context,
    version: Version,
    reason: Reason,
    waive: Waive = None,
    actor: Actor = None,
) -> None:
    """Put a version in charge by hand.

    The stream takes it at its next plan. `models rollback` is the way back. A pending version is
    approved by this too, unless approval.four_eyes is on: then another person approves it first. A
    rejected version must be approved first, a retired one is never in charge again.
    """
    workspace: Workspace = ctx.obj
    _check(workspace, version, reason)
    put_in_charge(workspace, version, reason=reason, actor=actor, waived=waive or [])
    _say_in_charge(workspace, version)


def put_in_charge(
    workspace: Workspace, version: int, *, reason: str, actor: str | None,
    waived: Sequence[str] = (), expected: int | EllipsisType | None = ...,
) -> None:  # fmt: skip
    """Move the alias of the champion to a version that may take charge.

    Args:
        waived: the failed gates that the actor lets pass.
        expected: the champion that the caller saw, if it matters.

    Raises:
        StateError, UsageError: what speaks against it, and what to do.
    """
    from models.registry.approval import check_promotion

    failed, registry = _failed(workspace, version), workspace.registry

    def check(log: ApprovalsLog) -> None:
        check_promotion(
            log, version, failed=failed, waived=waived, user=registry.user,
            four_eyes=workspace.settings.approval.four_eyes,
        )  # fmt: skip

    registry.move_alias(
        CHAMPION, version, actor=named(actor), reason=reason, at_ms=workspace.clock.now_ms(),
        expected=expected, waived=waived, check=check,
    )  # fmt: skip


def rollback(ctx: typer.Context, reason: Reason, actor: Actor = None) -> None:
    """Put the version in charge that was before the champion.

    Once more goes to the one before that; versions that were rejected or retired since are passed
    over. The stream takes it at its next plan. One person is enough, also with approval.four_eyes:
    the version was in charge before, and a roll-back can't wait.
    """
    from models.registry.approvals_log import reign

    workspace: Workspace = ctx.obj
    check_reason(reason)
    log = workspace.registry.approvals()
    versions, states = reign(log.entries, CHAMPION), log.states()
    if len(versions) < 2:
        raise UsageError("there is no champion before this one", where=workspace.domain.name,
                         hint="claimtrace models history shows who was")  # fmt: skip
    current, *earlier = reversed(versions)
    passed_over = [version for version in earlier if states[version] != "approved"]
    before = next((version for version in earlier if states[version] == "approved"), None)
    if before is None:
        raise UsageError(
            "every champion before this one was rejected or retired", where=workspace.domain.name,
            hint="approve one of them again, or promote another version: claimtrace models list",
        )  # fmt: skip
    workspace.registry.move_alias(
        CHAMPION, before, actor=named(actor), reason=reason, at_ms=workspace.clock.now_ms(),
        expected=current, check=lambda log: _check_approved(log, before),
    )  # fmt: skip
    for version in passed_over[: earlier.index(before)]:
        out.print(f"version {version} is {states[version]}: passed over")
    _say_in_charge(workspace, before)


def reject(ctx: typer.Context, version: Version, reason: Reason, actor: Actor = None) -> None:
    """Record that a version was looked at and isn't approved; it stays published.

    It can't be promoted then, until somebody approves it after all.
    """
    workspace: Workspace = ctx.obj
    _check(workspace, version, reason)

    def check(log: ApprovalsLog) -> None:
        if log.aliases().get(CHAMPION) == version:
            raise StateError(f"version {version} is champion", where=workspace.domain.name,
                             hint="claimtrace models rollback first")  # fmt: skip

    workspace.registry.reject(
        version, actor=named(actor), reason=reason, at_ms=workspace.clock.now_ms(), check=check
    )
    out.print(f"{workspace.domain.name}/{version} is rejected")


def retire(ctx: typer.Context, version: Version, reason: Reason, actor: Actor = None) -> None:
    """Take a version out of service for good; it stays published, for the audit.

    It can't be approved or promoted again, and a roll-back passes it over. The champion can't be
    retired: put another version in its place first.
    """
    workspace: Workspace = ctx.obj
    _check(workspace, version, reason)
    workspace.registry.retire(
        version, actor=named(actor), reason=reason, at_ms=workspace.clock.now_ms()
    )
    out.print(f"{workspace.domain.name}/{version} is retired")


def _check_approved(log: ApprovalsLog, version: int) -> None:
    if log.state(version) != "approved":
        raise StateError(f"version {version} isn't approved any more", where=f"version {version}",
                         hint="look again: claimtrace models list")  # fmt: skip


def _check(workspace: Workspace, version: int, reason: str) -> None:
    workspace.published(version)
    check_reason(reason)


def check_reason(reason: str) -> None:
    """Refuse an act without a reason."""
    if not reason.strip():
        raise UsageError("the reason is empty", where="--reason", hint="say why, for the audit")


def _failed(workspace: Workspace, version: int) -> list[str]:
    from models.registry.approval import failed_gates

    return failed_gates(workspace.registry.load(version).manifest.metrics)


def named(actor: str | None) -> str:
    """Return the name for the log; nobody has proven who they are on a command line."""
    return f"{actor or os_user()} (unproven)"


def _say_in_charge(workspace: Workspace, version: int) -> None:
    out.print(
        f"{workspace.domain.name}/{version} is champion; the stream takes it at its next batch"
    )
