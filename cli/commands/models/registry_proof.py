"""The proof of the registry: the approvals log against its head, the versions and the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from claimtrace.errors import ClaimtraceError, StateError, UsageError

from ...console import out, print_json, safe
from ...wiring.workspace import CHAMPION, Workspace
from ..proof_lines import show_covered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.registry.approvals_log import ApprovalsLog
    from stream.journal.plan import Plan
    from stream.proofs.coverage import Covered

MODEL_PARTS: Final = ("head", "journal")


class ModelsCheck(msgspec.Struct, frozen=True):
    """The result of a check of the registry: entries from the first to the last, and the head.

    `misfits` are versions with an alias that can't serve under the definitions as they are now.
    """

    entries: int
    versions: int
    from_ms: int
    to_ms: int
    head: str
    problems: list[str]
    covered: list[Covered]
    misfits: list[str] = []


def check_models(workspace: Workspace) -> ModelsCheck:
    """Check the registry.

    Raises:
        UsageError: there is no registry, so that nothing could be proven.
    """
    from stream.proofs.coverage import Covered

    registry = workspace.registry
    problems = registry.verify()
    try:
        approvals, head = registry.approvals(), registry.recorded_head()
    except StateError:
        return ModelsCheck(0, 0, 0, 0, "", problems, [])
    entries = approvals.entries
    if not entries and not problems:
        raise UsageError(
            f"there is no model of {workspace.domain.name} yet, so nothing to prove",
            where=registry.place,
            hint="`claimtrace train` publishes one; or is this another folder or domain?",
        )
    covered = [
        Covered("head", head is not None, f"{head.entries:,} entries" if head else
                "none is recorded beside the log yet; the next entry records it"),
    ]  # fmt: skip
    plans, found = _plans(workspace)
    wrong, scored = _unapproved(approvals, plans)
    covered.append(found or Covered("journal", True, f"{scored:,} plans name a model"))
    return ModelsCheck(
        len(entries), len(registry.versions()), entries[0].at_ms if entries else 0,
        entries[-1].at_ms if entries else 0, approvals.head, problems + wrong, covered,
    )  # fmt: skip


def _plans(workspace: Workspace) -> tuple[Iterable[Plan], Covered | None]:
    """Return the plans of a journal in the folder, and why they aren't compared if they can't be.

    A journal on a cluster is compared by `claimtrace verify`, which loads each model of a plan.
    """
    from stream.adapters.embedded.file_journal import read_plans
    from stream.proofs.coverage import Covered

    if not workspace.journal_path.exists():
        return (), Covered("journal", False, "there is none in this folder")
    try:
        return list(read_plans(workspace.journal_path)), None
    except ClaimtraceError as error:
        return (), Covered("journal", False, error.what)


def _unapproved(approvals: ApprovalsLog, plans: Iterable[Plan]) -> tuple[list[str], int]:
    """Return a line for each model that decided without an entry, and how many plans name one."""
    first: dict[tuple[int, str], int] = {}
    rolled_out: dict[tuple[int, str], int] = {}
    scored = 0
    for plan in plans:
        if plan.rollout is not None:
            rolled_out.setdefault((plan.rollout.version, plan.rollout.digest), plan.number)
        if plan.model is not None:
            scored += 1
            first.setdefault((plan.model.version, plan.model.digest), plan.number)
    promoted = {
        (entry.version, entry.digest)
        for entry in approvals.entries
        if entry.act == "moved" and entry.alias == CHAMPION
    }
    lines = [
        f"plan {number} was scored by version {version}, but no entry of the approvals log put it "
        "in charge: lines are missing"
        for (version, digest), number in first.items()
        if (version, digest) not in promoted
    ]
    started = {
        (entry.version, entry.digest)
        for entry in approvals.entries
        if entry.act == "rollout_started"
    }
    lines += [
        f"plan {number} names roll-out {version}, but no entry of the approvals log started it: "
        "lines are missing"
        for (version, digest), number in rolled_out.items()
        if (version, digest) not in started
    ]
    return lines, scored


def show_models_checked(result: ModelsCheck, required: list[str], *, as_json: bool) -> None:
    """Print the result of a check."""
    if as_json:
        print_json(result)
        return
    for line in result.problems:
        out.print(f"[red]{safe(line)}[/]")
    if not result.problems:
        out.print(
            f"[bold green]nothing was changed[/]: {result.entries:,} entries, {result.versions:,} "
            f"versions, head {result.head[:12]}"
        )
    for line in result.misfits:
        out.print(f"[yellow]{safe(line)}[/]")
    show_covered(result.covered, required)
