"""The present seal of a folder, and the comparison of a folder with an earlier seal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from claimtrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.journal.plan import Plan
    from stream.proofs.coverage import PartitionProof, Walk
    from stream.proofs.seal_line import Seal

    from ...wiring.workspace import Workspace


def read_seal(words: str) -> Seal:
    """Read the seal that an option gives: the line itself, or the name of a file with it.

    Raises:
        UsageError: it is neither.
    """
    from stream.proofs.seal_line import MAX_CHARS, PREFIX, seal_of

    if words.lstrip().startswith(PREFIX):
        return seal_of(words)
    try:
        with Path(words).open("rb") as file:
            return seal_of(file.read(MAX_CHARS + 1).decode("ascii", "replace"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "this is neither a seal nor a file with one", where="--against",
            hint="give the whole line that `claimtrace seal` printed, in quotes",
        ) from error  # fmt: skip


def seal_now(
    workspace: Workspace,
    plans: Sequence[Plan],
    partitions: Sequence[PartitionProof],
    tables: dict[str, int],
) -> Seal:
    """Return the seal of what a proof met."""
    from stream.proofs.seal_line import Counted, Seal, journal_heads, planned_ends

    approvals = workspace.registry.approvals()
    return Seal(
        workspace.domain.name,
        workspace.clock.now_ms(),
        Counted(len(plans), journal_heads(plans)[-1]),
        {each.partition: Counted(each.decisions, each.head) for each in partitions},
        planned_ends(plans),
        Counted(len(approvals.entries), approvals.head) if approvals.entries else None,
        tables,
    )


def seal_problems(
    workspace: Workspace, earlier: Seal, now: Seal, walk: Walk, plans: Sequence[Plan]
) -> list[str]:
    """Return a line for each part that doesn't continue an earlier seal."""
    from stream.proofs.seal_line import journal_heads, journal_problems, later_problems

    problems = later_problems(earlier, now) + journal_problems(earlier, journal_heads(plans))
    for partition, (count, head) in earlier.decisions.items():
        place = walk.place(partition, head)
        if place != count:
            problems.append(
                f"claims.decisions/{partition}: its decision {count:,} is not the one of the seal"
                if place is None else f"claims.decisions/{partition}: the last decision of the "
                f"seal was number {count:,}, now it is {place:,}"
            )  # fmt: skip
    chains = workspace.registry.approvals().chains
    if earlier.approvals is not None:
        count, head = earlier.approvals
        if not 0 < count <= len(chains) or chains[count - 1] != head:
            problems.append(f"approvals: entry {count:,} is not the one of the seal")
    return [f"seal: {line}" for line in problems]
