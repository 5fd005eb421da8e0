"""Forgetting entities: numbers of those that nothing refers to any more are given out again.

Windows forget old events, but an index of ids alone would grow for as long as new phones and shops
appear. An entity is alive while an entry, a profile, a distinct column or a remembered claim refers
to it. The living are marked, a slice at a time between batches; whoever is looked up meanwhile
lives too, because every new reference begins with a look-up. Then the index forgets the others, and
their numbers go to the next new ids. No number ever changes, and no decision depends on one, so
none depends on when this runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ..fields.interning import Interner
from ..windows.entity_windows import Series
from .event_ledger import EventLedger
from .profiles import Profiles

LEAST_STRINGS: Final = 4096
"""Below this many there is nothing worth giving back."""

MOST_GROWTH: Final = 1.25
"""An index that has grown by less since the dead were last forgotten isn't worth the pass."""


class Kind(NamedTuple):
    """The ids of one kind of entity (or of one field whose values are counted), and all columns
    that can refer to them: slots of the claims' ledger, series, profiles, distinct columns."""

    ids: Interner
    ledger: EventLedger
    slots: list[int]
    series: list[Series]
    profiles: list[Profiles]
    counted: list[tuple[Series, str]]


def forget_dead(kind: Kind) -> Iterator[int]:
    """Forget the dead of a kind if it is worth it; yields the units of work after each slice."""
    ids = kind.ids
    if ids.used < LEAST_STRINGS or ids.used < MOST_GROWTH * ids.kept:
        return
    living = ids.marking()
    # the ledger first: a label refers to what its claim's row there refers to
    yield from kind.ledger.mark(kind.slots, living)
    for series in kind.series:
        yield from series.mark(living)
    for series, column in kind.counted:
        yield from series.mark_distinct(column, living)
    for profiles in kind.profiles:
        yield from profiles.mark(living)
    yield from ids.forget_unmarked()
