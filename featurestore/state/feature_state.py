"""Features as of each event of a batch: the one arithmetic for live, back-fill and training.

    accepted events -> ids to numbers -> profiles, windows -> own fields, expressions -> matrix

State is in columns and belongs to this object; the input log and the journal rebuild it. Nothing in
here depends on where a batch ends: the same events in the same order give the same vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.buffers.siphash import Key
from claimtrace.encoding.json_columns import JsonColumnReader, JsonColumns
from claimtrace.event_flags import INCOMPLETE, PLACEHOLDER, UNSEEN
from claimtrace.events import Event

from ..definitions.domain import Domain
from ..definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from ..definitions.features import Computed, Group, Own, WindowFeature
from ..fields.claim_columns import ClaimColumns, Spellings, can_be_read
from ..fields.event_columns import CategoryReader, EventColumns, known_values, own_feature
from ..fields.interning import Ids, Interner, as_byte_strings
from ..fields.normalisation import normal_keys
from ..state_arrays import Arrays, below, under
from ..windows.entity_series import FRAUD, LEGIT
from ..windows.entity_windows import EntityWindows, Series
from .event_ledger import NOT_APPLIED, EventLedger
from .id_reclaim import Kind, forget_dead
from .profiles import Profiles
from .touches import NO_CLAIMS, Claims, Label, Moments

Matrix = NDArray[np.float64]
Fields = EventColumns | ClaimColumns


class ProfileChange(NamedTuple):
    """An accepted change of a profile."""

    event: Event
    order: int
    time_ms: int


@dataclass
class Batch:
    """The accepted events of a batch, by what they do; `fields` are those of the claims."""

    fields: Fields
    claims: Claims = NO_CLAIMS
    labels: list[Label] = field(default_factory=list)
    changes: dict[str, list[ProfileChange]] = field(default_factory=dict)


class Vectors(NamedTuple):
    """The served vectors of a batch's claims.

    `matrix[claims, features]` float64 with NaN for missing; flags as in
    `claimtrace.encoding.decoder`; `split_keys` are the normalised keys of `Domain.split_by`;
    `columns` the features and `field:` numbers by name, for rules; `amounts` is the value of each
    claim in cents, NaN where the domain has none.
    """

    matrix: Matrix
    flags: NDArray[np.int64]
    split_keys: ByteStrings
    columns: dict[str, NDArray[np.float64]]
    amounts: NDArray[np.float64]


class _GroupState:
    """A profile group: which fields features need, and their newest values."""

    def __init__(self, group: Group, definitions: list[Own], read: set[str]) -> None:
        self.group = group
        self.fields = sorted({d.field for d in definitions} | read)
        known = {d.field: known_values(d) for d in definitions if known_values(d)}
        self.readers = {name: CategoryReader(values) for name, values in known.items()}
        self.profiles = Profiles(len(self.fields))


class FeatureState:
    """Everything a domain's features remember.

    Args:
        domain: the definitions.
        ledger: the claims' ledger, for the entities that a label concerns.
        key: for the indexes of ids.
        lateness_ms: events up to this late are applied.
    """

    def __init__(self, domain: Domain, ledger: EventLedger, key: Key, lateness_ms: int) -> None:
        self.domain = domain
        self._ledger = ledger
        self._entities = domain.entities
        self._slots = [(e, name) for e in self._entities for name in e.fields]
        self._interners = {e.name: Interner(key) for e in self._entities}
        windows = [f for f in domain.features if isinstance(f, WindowFeature)]
        self._windows = [
            EntityWindows(e, [f for f in windows if f.entity == e], lateness_ms)
            for e in self._entities
        ]
        own = [f for f in domain.features if isinstance(f, Own)]
        self._groups = [
            _GroupState(
                g,
                [d for d in own if d.group == g.name],
                _read_names(domain, f"{PROFILE_PREFIX}{g.name}."),
            )
            for g in domain.groups
        ]
        self._readers = {
            d.field: CategoryReader(known_values(d)) for d in own if known_values(d) and not d.group
        }
        self._spellings = {name: Spellings(each, key) for name, each in self._readers.items()}
        self._numeric = sorted(_numeric_fields(domain))
        distincts = sorted({f.value for f in windows if f.aggregate == "distinct"})
        by_key = {e.key: e.name for e in self._entities}
        self._distinct_of = {name: by_key.get(name, f"value.{name}") for name in distincts}
        for name in sorted(set(self._distinct_of.values()) - set(self._interners)):
            self._interners[name] = Interner(key)

    def can_read(self, reader: JsonColumnReader) -> bool:
        """Whether all that the features want of a claim comes out of the fast reader."""
        return can_be_read(
            reader,
            numbers=set(self._numeric),
            categories=set(self._readers),
            keys={name for _, name in self._slots},
            texts=set(self._distinct_of),
        )

    def fields_of(self, columns: JsonColumns) -> ClaimColumns:
        """The fields of claims from the fast reader."""
        return ClaimColumns(columns, self._spellings)

    @staticmethod
    def slots(domain: Domain) -> int:
        """How many entity numbers a claim's row in the ledger holds."""
        return sum(len(entity.fields) for entity in domain.entities)

    def apply(self, batch: Batch) -> Vectors:
        """Take in a batch; returns the vectors of its claims, in order."""
        claims, fields_ = batch.claims, batch.fields
        flags = np.zeros(len(fields_), np.int64)
        split_keys, numbers = self._number_entities(fields_, flags)
        self._note_claims(claims, numbers)
        columns: dict[str, NDArray[np.float64]] = {
            FIELD_PREFIX + name: fields_.number(name) for name in self._numeric
        }
        unseen = self._own_columns(fields_, columns)
        unseen |= self._profile_columns(batch, numbers, columns)
        self._window_columns(batch, numbers, fields_, columns)
        flags[unseen] |= UNSEEN
        matrix = self._assemble(columns, len(fields_))
        flags[split_keys.sizes == 0] |= INCOMPLETE
        amounts = columns.get(FIELD_PREFIX + self.domain.amount, np.full(len(fields_), np.nan))
        return Vectors(matrix, flags, split_keys, columns, amounts)

    def find_entity(self, name: str, keys: list[str]) -> Ids:
        """The numbers of normalised keys of an entity kind, -1 where it was never seen."""
        return self._interners[name].find(keys)

    def tidy(self, watermark: int) -> Iterator[int]:
        """Give back memory that no window can reach, and the numbers that nothing refers to, a
        slice at a time; never changes a vector."""
        for windows in self._windows:
            for _, series in windows.series:
                yield from series.tidy(watermark)
        for name in sorted(self._interners):
            yield from forget_dead(self._kind(name))

    def _kind(self, name: str) -> Kind:
        """The ids of a kind of entities or distinct values, and all that can refer to them."""
        counted = [
            (each, column)
            for windows in self._windows
            for _, each in windows.series
            for column in each.distinct_fields
            if self._distinct_of[column] == name
        ]
        return Kind(
            self._interners[name],
            self._ledger,
            [i for i, (entity, _) in enumerate(self._slots) if entity.name == name],
            [s for w in self._windows if w.entity.name == name for _, s in w.series],
            [g.profiles for g in self._groups if g.group.entity.name == name],
            counted,
        )

    def usage(self) -> dict[str, tuple[int, int]]:
        """Live entity-events and their bytes, for each series."""
        return {
            f"{w.entity.name}.{name}": (series.live_entries, series.used_bytes)
            for w in self._windows
            for name, series in w.series
        }

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        found: Arrays = {}
        for name, part in self._parts():
            found.update(under(f"{name}/", part.arrays()))
        return found

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        for name, part in self._parts():
            part.restore(below(f"{name}/", arrays))

    def _parts(self) -> list[tuple[str, Interner | Series | Profiles]]:
        parts: list[tuple[str, Interner | Series | Profiles]] = []
        parts += [(f"ids.{name}", each) for name, each in sorted(self._interners.items())]
        parts += [(f"profiles.{g.group.name}", g.profiles) for g in self._groups]
        for windows in self._windows:
            parts += [(f"windows.{windows.entity.name}.{n}", s) for n, s in windows.series]
        return parts

    def _number_entities(
        self, fields_: Fields, flags: NDArray[np.int64]
    ) -> tuple[ByteStrings, Ids]:
        """The keys that claims are split by, and numbers [slots, n]: an entity in two roles counts
        once."""
        numbers = np.full((len(self._slots), len(fields_)), -1, np.int64)
        first_slot: dict[str, int] = {}
        split_keys = ByteStrings.none(0)
        for slot, (entity, name) in enumerate(self._slots):
            keys, empty = fields_.keys(name, entity.form, frozenset(entity.deny))
            flags[empty] |= PLACEHOLDER
            numbers[slot] = self._interners[entity.name].numbers_of(keys, len(fields_))
            for other in range(first_slot.setdefault(entity.name, slot), slot):
                numbers[slot, numbers[slot] == numbers[other]] = -1
            if (entity, name) == (self.domain.split_by, self.domain.split_by.key):
                split_keys = as_byte_strings(keys)
        return split_keys, numbers

    def _note_claims(self, claims: Claims, numbers: Ids) -> None:
        times = np.where(claims.is_late, NOT_APPLIED, claims.time_ms)
        self._ledger.note_claims(claims.row, times, numbers)

    def _own_columns(
        self, fields_: Fields, columns: dict[str, NDArray[np.float64]]
    ) -> NDArray[np.bool_]:
        unseen = np.zeros(len(fields_), np.bool_)
        codes = {name: fields_.codes(name, reader) for name, reader in self._readers.items()}
        for column in codes.values():
            unseen |= column < 0
        for each in self.domain.features:
            if isinstance(each, Own) and not each.group:
                source = codes.get(each.field)
                column = source if source is not None else columns[FIELD_PREFIX + each.field]
                columns[each.name] = own_feature(each, column)
        return unseen

    def _profile_columns(
        self, batch: Batch, numbers: Ids, columns: dict[str, NDArray[np.float64]]
    ) -> NDArray[np.bool_]:
        unseen = np.zeros(len(batch.fields), np.bool_)
        for state in self._groups:
            got = self._run_group(state, batch, numbers)
            by_field = dict(zip(state.fields, got, strict=True))
            start = f"{PROFILE_PREFIX}{state.group.name}."
            columns.update({start + name: column for name, column in by_field.items()})
            for name in state.readers:
                unseen |= by_field[name] < 0
            for each in self.domain.features:
                if isinstance(each, Own) and each.group == state.group.name:
                    columns[each.name] = own_feature(each, by_field[each.field])
        return unseen

    def _run_group(self, state: _GroupState, batch: Batch, numbers: Ids) -> Matrix:
        """The profile values [fields, claims] of a group as of each claim."""
        entity = state.group.entity
        changes = batch.changes.get(state.group.name, [])
        source = EventColumns([c.event for c in changes], state.group.event)
        keys, _ = source.keys(entity.key, entity.form, frozenset(entity.deny))
        puts = self._interners[entity.name].numbers_of(keys, len(changes))
        gets = numbers[self._slots.index((entity, entity.key))]
        n_puts, n = len(changes), len(changes) + len(batch.fields)
        values = np.full((len(state.fields), n), np.nan, np.float64)
        for i, name in enumerate(state.fields):
            reader = state.readers.get(name)
            column = source.codes(name, reader) if reader else source.number(name)
            values[i, :n_puts] = column
        order = np.argsort(
            np.concatenate([np.array([c.order for c in changes], np.int64), batch.claims.order]),
            kind="stable",
        )
        is_put = np.arange(n) < n_puts
        times = np.zeros(n, np.int64)
        times[:n_puts] = [c.time_ms for c in changes]
        entities = np.concatenate([puts, gets])
        largest = len(self._interners[entity.name])
        got = state.profiles.run(
            is_put[order], entities[order], times[order], values[:, order], largest
        )
        back = np.empty_like(got)
        back[:, order] = got
        return back[:, n_puts:]

    def _window_columns(
        self,
        batch: Batch,
        numbers: Ids,
        fields_: Fields,
        columns: dict[str, NDArray[np.float64]],
    ) -> None:
        distincts = {
            name: self._distinct_numbers(name, of, fields_, numbers)
            for name, of in self._distinct_of.items()
        }
        moments = Moments(batch.claims, batch.labels, self._labelled(batch.labels))
        for windows in self._windows:
            slots = [i for i, (e, _) in enumerate(self._slots) if e == windows.entity]
            entities = len(self._interners[windows.entity.name])
            for kind, series in windows.series:
                touches = moments.touches(
                    numbers,
                    slots,
                    {name: columns[FIELD_PREFIX + name] for name in series.value_fields},
                    {name: distincts[name] for name in series.distinct_fields},
                    by_label=kind == "labels",
                )
                counts = [
                    len(self._interners[self._distinct_of[d]]) for d in series.distinct_fields
                ]
                found = series.apply(touches, entities, counts, len(batch.fields))
                for i, name in enumerate(series.names):
                    columns[name] = found[:, i]

    def _distinct_numbers(self, name: str, of: str, fields_: Fields, numbers: Ids) -> Ids:
        for slot, (entity, key) in enumerate(self._slots):
            if entity.name == of and key == name:
                return np.asarray(numbers[slot])
        keys, _ = normal_keys(fields_.texts(name), "id", frozenset())
        found: Ids = self._interners[of].numbers(keys)
        return found

    def _labelled(self, labels: list[Label]) -> list[tuple[int, NDArray[np.int32], int]]:
        """Of each label's claim, in order: when it counts, its entities, its outcome before."""
        found = []
        for label in labels:
            time_ms, entities, before = self._ledger.claim(label.row)
            found.append((time_ms, entities.copy(), before))
            self._ledger.set_outcome(label.row, label.outcome)
        return found

    def _assemble(self, columns: dict[str, NDArray[np.float64]], rows: int) -> Matrix:
        matrix = np.empty((rows, len(self.domain.features)), np.float64)
        for i, each in enumerate(self.domain.features):
            if isinstance(each, Computed):
                value = each.expression.evaluate(columns)
                columns[each.name] = np.broadcast_to(value, rows)
            matrix[:, i] = columns[each.name]
        matrix += 0.0  # negative zero and zero are one value with one set of bytes,
        matrix[np.isnan(matrix)] = np.nan  # and so are all the ways to write a NaN
        return matrix


def _numeric_fields(domain: Domain) -> set[str]:
    """The claim's fields that are read as numbers or times."""
    names = _read_names(domain, FIELD_PREFIX)
    for each in domain.features:
        if isinstance(each, Own) and not each.group and not known_values(each):
            names.add(each.field)
        elif isinstance(each, WindowFeature) and each.value and each.aggregate != "distinct":
            names.add(each.value)
    if domain.amount:
        names.add(domain.amount)
    return names


def _read_names(domain: Domain, prefix: str) -> set[str]:
    """The names with a prefix that expressions of features and rules read, without the prefix."""
    read: list[Expression] = [f.expression for f in domain.features if isinstance(f, Computed)]
    read += [rule.when for rule in domain.rules]
    found = {name for expression in read for name in expression.names()}
    return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}


__all__ = ["FRAUD", "LEGIT", "Batch", "Claims", "FeatureState", "Label", "ProfileChange", "Vectors"]
