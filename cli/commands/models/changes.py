"""`claimtrace models promote`, `rollback` and `reject`: what a person decides about a version."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from claimtrace.errors import StateError, UsageError

from ...console import out
from ...wiring.workspace import CHAMPION, Workspace

Version = Annotated[int, typer.Argument(help="The number of a version.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the approvals log.")]
Actor = Annotated[
    str | None, typer.Option(help="Who decides; the user of this machine by default.")
]


def promote(ctx: typer.Context, version: Version, reason: Reason, actor: Actor = None) -> None:
    """Put a version in charge by hand.

    The stream takes it at its next plan. `models rollback` is the way back.
    """
    workspace: Workspace = ctx.obj
    _check(workspace, version, reason)
    workspace.registry.move_alias(
        CHAMPION, version, actor=_named(actor), reason=reason, at_ms=workspace.clock.now_ms()
    )
    _say_in_charge(workspace, version)


def rollback(ctx: typer.Context, reason: Reason, actor: Actor = None) -> None:
    """Put the version in charge that was before the champion.

    Once more goes to the one before that. The stream takes it at its next plan.
    """
    from models.registry.approvals_log import reign

    workspace: Workspace = ctx.obj
    _check_reason(reason)
    versions = reign(workspace.registry.history(), CHAMPION)
    if len(versions) < 2:
        raise UsageError("there is no champion before this one", where=workspace.domain.name,
                         hint="claimtrace models history shows who was")  # fmt: skip
    current, before = versions[-1], versions[-2]
    workspace.registry.move_alias(
        CHAMPION, before, actor=_named(actor), reason=reason, at_ms=workspace.clock.now_ms(),
        expected=current,
    )  # fmt: skip
    _say_in_charge(workspace, before)


def reject(ctx: typer.Context, version: Version, reason: Reason, actor: Actor = None) -> None:
    """Record that a version was looked at and isn't approved; it stays published."""
    workspace: Workspace = ctx.obj
    _check(workspace, version, reason)
    if workspace.registry.aliases().get(CHAMPION) == version:
        raise StateError(f"version {version} is champion", where=workspace.domain.name,
                         hint="claimtrace models rollback first")  # fmt: skip
    workspace.registry.reject(
        version, actor=_named(actor), reason=reason, at_ms=workspace.clock.now_ms()
    )
    out.print(f"{workspace.domain.name}/{version} is rejected")


def _check(workspace: Workspace, version: int, reason: str) -> None:
    versions = [ref.version for ref in workspace.registry.versions()]
    if version not in versions:
        known = f"published: {versions[0]} .. {versions[-1]}" if versions else "none published yet"
        raise UsageError(f"there is no version {version}", where=workspace.domain.name, hint=known)
    _check_reason(reason)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("the reason is empty", where="--reason", hint="say why, for the audit")


def _named(actor: str | None) -> str:
    """Return the name for the log; nobody has proven who they are on a command line."""
    return f"{actor or f'{getpass.getuser()}@{socket.gethostname()}'} (unproven)"


def _say_in_charge(workspace: Workspace, version: int) -> None:
    out.print(
        f"{workspace.domain.name}/{version} is champion; the stream takes it at its next batch"
    )
