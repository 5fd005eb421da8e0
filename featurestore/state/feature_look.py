"""A look at claims: the vectors that they would have now, each alone, without any change.

An id that the state doesn't know has a number above all known ones for the time of the look, so
that the same unknown phone in two roles is one phone; then the number is given back. Windows are
asked, and neither evict nor insert. So the state after a look is the state before it, and the
vectors are those that `FeatureState.apply` gives to the same claim when it comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..definitions.expressions import FIELD_PREFIX
from ..fields.interning import Ids, Interner, PassingIds
from ..windows.entity_windows import QUERY, EntityWindows, Touches
from .claim_reading import ClaimReading, Columns, Fields, GroupReading, Vectors
from .profiles import Profiles
from .touches import Claims


class FeatureLook:
    """Looks at the state of `FeatureState`, which it shares.

    Args:
        reading: of its own, not that of the state: it has caches.
        interners: the indexes of ids, by the name of their kind.
        groups: the profile groups, with the profiles.
        windows: of each kind of entity.
    """

    def __init__(
        self,
        reading: ClaimReading,
        interners: Mapping[str, Interner],
        groups: Sequence[tuple[GroupReading, Profiles]],
        windows: Sequence[EntityWindows],
    ) -> None:
        self.reading = reading
        self._interners, self._groups, self._windows = interners, groups, windows

    def vectors(self, fields_: Fields, claims: Claims) -> Vectors:
        """Return the vectors of n claims, of which each would be the next one.

        Args:
            fields_: their fields.
            claims: their times, watermarks and whether they would be late; the other columns
                aren't read.
        """
        reading, ids = self.reading, {n: PassingIds(each) for n, each in self._interners.items()}
        flags = np.zeros(len(fields_), np.int64)
        split_keys, numbers = reading.number_entities(fields_, ids, flags)
        columns, unseen = reading.own_columns(fields_)
        for group, profiles in self._groups:
            entity = group.group.entity
            values = profiles.look(numbers[reading.slots.index((entity, entity.key))])
            reading.add_profiles(group, values, columns, unseen)
        self._add_windows(fields_, claims, numbers, ids, columns)
        return reading.vectors(columns, flags, unseen, split_keys)

    def _add_windows(
        self,
        fields_: Fields,
        claims: Claims,
        numbers: Ids,
        ids: Mapping[str, PassingIds],
        columns: Columns,
    ) -> None:
        """Add the columns of all window features."""
        reading = self.reading
        distincts = reading.number_distincts(fields_, ids, numbers)
        counts = {name: len(ids[of]) for name, of in reading.distinct_of.items()}
        values = {name.removeprefix(FIELD_PREFIX): each for name, each in columns.items()}
        for windows in self._windows:
            if not windows.series:
                continue
            primary = numbers[reading.slots_of(windows.entity.name)[0]].copy()
            primary[claims.is_late] = -1  # a late claim has no windows
            touches = _queries(claims, primary, values, distincts)
            for _, series in windows.series:
                wanted = [counts[name] for name in series.distinct_fields]
                found = series.look(touches, wanted, len(fields_))
                columns.update(zip(series.names, found.T, strict=True))


def _queries(
    claims: Claims, entity: NDArray[np.int64], values: Columns, distincts: dict[str, Ids]
) -> Touches:
    """Return a query of each claim on its primary entity of a kind."""
    n = entity.size
    nothing = np.zeros(n, np.uint8)
    return Touches(
        order=claims.order,
        kind=np.full(n, QUERY, np.uint8),
        entity=entity,
        time=claims.time_ms,
        watermark=claims.watermark_ms,
        row=np.arange(n),
        values=values,
        distincts=distincts,
        outcome_before=nothing,
        outcome=nothing,
    )
