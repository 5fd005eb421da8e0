"""The effects of a batch as plain values, which the driver carries out in its written order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from claimtrace.events import Outgoing

from ..offline_rows.rows import BatchRows


@dataclass
class Counts:
    """Totals of records by outcome; each record is counted in exactly one of six.

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
        """Add the counts of another batch to these, in place."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class Effects:
    """The effects of one plan.

    `outgoing` are the records to emit, `rows` the sources of the offline store's rows by table,
    `counts` the totals of this plan, and `log_lines` the lines for the operator's log.
    """

    outgoing: Sequence[Outgoing]
    rows: dict[str, BatchRows]
    counts: Counts = field(default_factory=Counts)
    log_lines: tuple[str, ...] = ()
