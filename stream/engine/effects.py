"""What a batch wants done to the world: values that the driver carries out, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from claimtrace.events import Outgoing

from ..offline_rows.rows import BatchRows


@dataclass
class Counts:
    """What became of the records so far; each one that came in is in exactly one of six.

    records = claims + changes + labels + duplicates + dead + tombstones
    """

    records: int = 0
    claims: int = 0
    changes: int = 0
    labels: int = 0
    duplicates: int = 0
    dead: int = 0
    tombstones: int = 0
    late: int = 0
    unmatched_labels: int = 0
    unseen_categories: int = 0
    referred: int = 0
    reviewed: int = 0
    scored: int = 0
    alerts: int = 0

    def add(self, other: Counts) -> None:
        """Sum up, in place."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class Effects:
    """Records to emit, what the offline store's rows are made of by table, the counts of one plan,
    and what a person should read in the log."""

    outgoing: Sequence[Outgoing]
    rows: dict[str, BatchRows]
    counts: Counts = field(default_factory=Counts)
    notices: tuple[str, ...] = ()
