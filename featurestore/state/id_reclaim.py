"""Reclaiming ids: numbers of entities that are no longer referred to are given out again.

Windows evict old events, but an index of ids alone would grow for as long as new phones and shops
appear. An entity is live while a window entry, a profile, a distinct column or a known claim refers
to it. The pass is a mark and sweep that runs in slices between batches: references are marked, then
the index drops the unmarked ids, and their numbers go to the next new ids. An id that is looked up
between two slices is marked as well, because every new reference begins with a look-up. The number
of a live id never changes, and no decision depends on a number, so no decision depends on when the
pass runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ..fields.interning import Interner
from ..windows.entity_windows import Series
from .event_ledger import EventLedger
from .profiles import Profiles

MIN_STRINGS: Final = 4096
"""An index with fewer strings isn't worth a pass."""

MIN_GROWTH: Final = 1.25
"""An index that has grown by a smaller factor since its last sweep isn't worth a pass."""


class IdReclaim(NamedTuple):
    """One index of ids, and all columns that can refer to its numbers.

    The index holds the ids of one kind of entity, or of one field whose distinct values are
    counted.

    Args:
        ids: the index.
        ledger: the ledger of the claims.
        slots: the ledger's slots that hold numbers of this index.
        series: the series whose entities have these numbers.
        profiles: the profiles whose entities have these numbers.
        counted: the distinct columns with these numbers: a series and a field.
    """

    ids: Interner
    ledger: EventLedger
    slots: list[int]
    series: list[Series]
    profiles: list[Profiles]
    counted: list[tuple[Series, str]]

    def run(self) -> Iterator[int]:
        """Drop unreferenced ids, if a pass is worth it; yields the units of work of each slice."""
        ids = self.ids
        if ids.used < MIN_STRINGS or ids.used < MIN_GROWTH * ids.used_after_sweep:
            return
        live = ids.start_marking()
        # the ledger first: a label that arrives later refers to the entities in its claim's row
        yield from self.ledger.mark(self.slots, live)
        for series in self.series:
            yield from series.mark(live)
        for series, column in self.counted:
            yield from series.mark_distinct(column, live)
        for profiles in self.profiles:
            yield from profiles.mark(live)
        yield from ids.sweep_unmarked()
