"""The lines that every proof prints below its verdict: what it covered, and what it didn't."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..console import out, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.proofs.coverage import Covered, PartitionProof


def show_covered(covered: Sequence[Covered], required: Sequence[str] = ()) -> None:
    """Print a line for each part: compared, or not covered; a required one is an error then."""
    for each in covered:
        state = "" if each.covered else "not covered: "
        color = "dim" if each.covered else "red" if each.part in required else "yellow"
        out.print(f"  [{color}]{each.part:<10} {state}{safe(each.found)}[/]")


def show_span(partitions: Sequence[PartitionProof], head: str) -> None:
    """Print how many decisions a proof met, from when to when, and the head over all of them."""
    if not partitions:
        return
    count = sum(each.decisions for each in partitions)
    first, last = min(p.from_ms for p in partitions), max(p.to_ms for p in partitions)
    out.print(
        f"  [dim]{'decisions':<10} {count:,} on {len(partitions):,} partitions, from "
        f"{_when(first)} to {_when(last)}, head {head[:12]}[/]"
    )


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
