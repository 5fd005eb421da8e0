"""Features as of each claim of a batch: the same code for live scoring, back-fill and training.

    accepted events -> ids to numbers -> profiles, windows -> own fields, expressions -> matrix

All state is in columns that `FeatureState` owns; it can be rebuilt from the input log and the
journal. No result depends on batch borders: the same events in the same order give the same
vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.siphash import Key
from claimtrace.editions import NEWEST
from claimtrace.events import Event

from ..definitions.domain import Domain
from ..definitions.expressions import FIELD_PREFIX
from ..definitions.features import WindowFeature
from ..fields.event_columns import EventColumns
from ..fields.interning import Ids, Interner
from ..state_arrays import Arrays, below, under
from ..windows.entity_series import FRAUD, LEGIT
from ..windows.entity_windows import EntityWindows, Series
from .claim_reading import ClaimReading, Columns, Fields, GroupReading, Matrix, Vectors
from .event_ledger import NOT_APPLIED, EventLedger
from .feature_look import FeatureLook
from .id_reclaim import IdReclaim
from .profiles import Profiles
from .touches import NO_CLAIMS, BatchTouches, Claims, Label


class ProfileChange(NamedTuple):
    """An accepted profile change; `order` is its index among the events of the batch."""

    event: Event
    order: int
    time_ms: int


@dataclass
class Batch:
    """The new events of a batch by kind; `fields` are those of the claims, `changes` by group."""

    fields: Fields
    claims: Claims = NO_CLAIMS
    labels: list[Label] = field(default_factory=list)
    changes: dict[str, list[ProfileChange]] = field(default_factory=dict)


class FeatureState:
    """The state behind a domain's features: entity numbers, profiles and windows.

    Args:
        domain: the definitions.
        ledger: the ledger of claims, to look up the entities of a labelled claim.
        key: the secret key of the indexes of ids.
        lateness_ms: claims up to this much behind the watermark are applied.
    """

    def __init__(self, domain: Domain, ledger: EventLedger, key: Key, lateness_ms: int) -> None:
        self.domain = domain
        self._ledger = ledger
        self.reading = ClaimReading(domain, key)
        """How the claims of batches are read."""
        self._slots = self.reading.slots
        kinds = {e.name for e in domain.entities} | set(self.reading.distinct_of.values())
        self._interners = {name: Interner(key) for name in sorted(kinds)}
        windows = [f for f in domain.features if isinstance(f, WindowFeature)]
        self._windows = [
            EntityWindows(e, [f for f in windows if f.entity == e], lateness_ms)
            for e in domain.entities
        ]
        readings = [GroupReading(domain, group) for group in domain.groups]
        self._groups = [(each, Profiles(len(each.fields))) for each in readings]
        self.look = FeatureLook(
            ClaimReading(domain, key), self._interners, self._groups, self._windows
        )
        """Looks at this state without a change."""
        self.begin(NEWEST)

    def begin(self, edition: int) -> None:
        """Read ids by an edition from now on."""
        self.reading.begin(edition)
        self.look.reading.begin(edition)

    @staticmethod
    def slots(domain: Domain) -> int:
        """Return the number of entity numbers in a claim's row of the ledger."""
        return sum(len(entity.fields) for entity in domain.entities)

    def apply(self, batch: Batch) -> Vectors:
        """Apply a batch to the state; returns the vectors of its claims, in order."""
        claims, fields_ = batch.claims, batch.fields
        flags = np.zeros(len(fields_), np.int64)
        split_keys, numbers = self.reading.number_entities(fields_, self._interners, flags)
        self._note_claims(claims, numbers)
        columns, unseen = self.reading.own_columns(fields_)
        for group, profiles in self._groups:
            values = self._run_group(group, profiles, batch, numbers)
            self.reading.add_profiles(group, values, columns, unseen)
        self._window_columns(batch, numbers, fields_, columns)
        return self.reading.vectors(columns, flags, unseen, split_keys)

    def compaction(self, watermark: int) -> Iterator[int]:
        """Free window entries that no window can reach, and numbers that nothing refers to.

        Yields the units of work after each slice. Never changes a vector.
        """
        for windows in self._windows:
            for _, series in windows.series:
                yield from series.compaction(watermark)
        for name in sorted(self._interners):
            yield from self._id_reclaim(name).run()

    def _id_reclaim(self, name: str) -> IdReclaim:
        """Return the index of a kind of ids, with all columns that can refer to its numbers."""
        counted = [
            (each, column)
            for windows in self._windows
            for _, each in windows.series
            for column in each.distinct_fields
            if self.reading.distinct_of[column] == name
        ]
        return IdReclaim(
            self._interners[name],
            self._ledger,
            self.reading.slots_of(name),
            [s for w in self._windows if w.entity.name == name for _, s in w.series],
            [p for g, p in self._groups if g.group.entity.name == name],
            counted,
        )

    def arrays(self) -> Arrays:
        """Return all state, for a snapshot."""
        found: Arrays = {}
        for name, part in self._parts():
            found.update(under(f"{name}/", part.arrays()))
        return found

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot."""
        for name, part in self._parts():
            part.restore(below(f"{name}/", arrays))

    def _parts(self) -> list[tuple[str, Interner | Series | Profiles]]:
        parts: list[tuple[str, Interner | Series | Profiles]] = []
        parts += [(f"ids.{name}", each) for name, each in sorted(self._interners.items())]
        parts += [(f"profiles.{g.group.name}", p) for g, p in self._groups]
        for windows in self._windows:
            parts += [(f"windows.{windows.entity.name}.{n}", s) for n, s in windows.series]
        return parts

    def _note_claims(self, claims: Claims, numbers: Ids) -> None:
        times = np.where(claims.is_late, NOT_APPLIED, claims.time_ms)
        self._ledger.note_claims(claims.row, times, numbers)

    def _run_group(
        self, reading: GroupReading, profiles: Profiles, batch: Batch, numbers: Ids
    ) -> Matrix:
        """Apply the batch to a group; returns its values [fields, claims] as of each claim."""
        entity = reading.group.entity
        changes = batch.changes.get(reading.group.name, [])
        source = EventColumns([c.event for c in changes], reading.group.event)
        keys, _ = source.keys(entity.key, self.reading.rules[entity])
        puts = self._interners[entity.name].numbers_of_joined(keys, len(changes))
        gets = numbers[self._slots.index((entity, entity.key))]
        n_puts, n = len(changes), len(changes) + len(batch.fields)
        values = np.full((len(reading.fields), n), np.nan, np.float64)
        for i, name in enumerate(reading.fields):
            reader = reading.readers.get(name)
            column = source.codes(name, reader) if reader else source.number(name)
            values[i, :n_puts] = column
        # puts and gets in log order, so that each claim reads the profile as of its own position
        order = np.argsort(
            np.concatenate([np.array([c.order for c in changes], np.int64), batch.claims.order]),
            kind="stable",
        )
        is_put = np.arange(n) < n_puts
        times = np.zeros(n, np.int64)
        times[:n_puts] = [c.time_ms for c in changes]
        entities = np.concatenate([puts, gets])
        entity_count = len(self._interners[entity.name])
        in_log_order = profiles.run(
            is_put[order], entities[order], times[order], values[:, order], entity_count
        )
        found = np.empty_like(in_log_order)
        found[:, order] = in_log_order
        return found[:, n_puts:]

    def _window_columns(
        self,
        batch: Batch,
        numbers: Ids,
        fields_: Fields,
        columns: Columns,
    ) -> None:
        distincts = self.reading.number_distincts(fields_, self._interners, numbers)
        batch_touches = BatchTouches(batch.claims, batch.labels, self._labelled(batch.labels))
        for windows in self._windows:
            slots = [i for i, (e, _) in enumerate(self._slots) if e == windows.entity]
            entities = len(self._interners[windows.entity.name])
            for kind, series in windows.series:
                touches = batch_touches.of_entity(
                    numbers,
                    slots,
                    {name: columns[FIELD_PREFIX + name] for name in series.value_fields},
                    {name: distincts[name] for name in series.distinct_fields},
                    by_label=kind == "labels",
                )
                counts = [
                    len(self._interners[self.reading.distinct_of[d]])
                    for d in series.distinct_fields
                ]
                found = series.apply(touches, entities, counts, len(batch.fields))
                for i, name in enumerate(series.names):
                    columns[name] = found[:, i]

    def _labelled(self, labels: list[Label]) -> list[tuple[int, NDArray[np.int32]]]:
        """Return for each label the time at which its claim was applied, and its entities."""
        found = []
        for label in labels:
            time_ms, entities = self._ledger.claim(label.row)
            found.append((time_ms, entities.copy()))
        return found


__all__ = [
    "FRAUD", "LEGIT", "Batch", "Claims", "FeatureState", "Fields", "Label", "ProfileChange",
    "Vectors",
]  # fmt: skip
