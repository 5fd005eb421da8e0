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

from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.buffers.siphash import Key
from claimtrace.editions import NEWEST
from claimtrace.encoding.json_columns import JsonColumnReader, JsonColumns
from claimtrace.event_flags import INCOMPLETE, PLACEHOLDER, UNSEEN
from claimtrace.events import Event

from ..definitions.domain import Domain
from ..definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from ..definitions.features import Computed, Entity, Group, Own, WindowFeature
from ..fields.claim_columns import ClaimColumns, Spellings, can_be_read
from ..fields.event_columns import CategoryReader, EventColumns, known_values, own_feature
from ..fields.id_rules import IdRules, id_rules
from ..fields.interning import Ids, Interner, as_byte_strings
from ..state_arrays import Arrays, below, under
from ..windows.entity_series import FRAUD, LEGIT
from ..windows.entity_windows import EntityWindows, Series
from .event_ledger import NOT_APPLIED, EventLedger
from .id_reclaim import IdReclaim
from .profiles import Profiles
from .touches import NO_CLAIMS, BatchTouches, Claims, Label

Matrix = NDArray[np.float64]
Fields = EventColumns | ClaimColumns


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


class Vectors(NamedTuple):
    """The served vectors of a batch's claims.

    Args:
        matrix: float64[claims, features] in the order of the definitions, NaN for missing.
        flags: bits of `claimtrace.event_flags` for each claim.
        split_keys: the normalised key of each claim's `Domain.split_by` entity.
        columns: features, `field:` and `profile:` numbers by name, for rules.
        amounts: the value of each claim in cents, NaN if missing or if the domain has no amount.
    """

    matrix: Matrix
    flags: NDArray[np.int64]
    split_keys: ByteStrings
    columns: dict[str, NDArray[np.float64]]
    amounts: NDArray[np.float64]


class _GroupState:
    """The state of a profile group: the fields that features read, and their newest values."""

    def __init__(self, group: Group, definitions: list[Own], in_expressions: set[str]) -> None:
        self.group = group
        self.fields = sorted({d.field for d in definitions} | in_expressions)
        known = {d.field: known_values(d) for d in definitions if known_values(d)}
        self.readers = {name: CategoryReader(values) for name, values in known.items()}
        self.profiles = Profiles(len(self.fields))


class FeatureState:
    """The state behind a domain's features: entity numbers, profiles and windows.

    Args:
        domain: the definitions.
        ledger: the ledger of claims, to look up the entities of a labelled claim.
        key: the secret key of the indexes of ids.
        lateness_ms: claims up to this much behind the watermark are applied.

    Attributes:
        edition: how ids are read from now on.
    """

    def __init__(self, domain: Domain, ledger: EventLedger, key: Key, lateness_ms: int) -> None:
        self.domain = domain
        self.edition = NEWEST
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
        """Whether the fast reader delivers every field of a claim that the features read."""
        return can_be_read(
            reader,
            numbers=set(self._numeric),
            categories=set(self._readers),
            keys={name for _, name in self._slots},
            texts=set(self._distinct_of),
        )

    def fields_of(self, columns: JsonColumns) -> ClaimColumns:
        """Return the fields of claims that the fast reader has read."""
        return ClaimColumns(columns, self._spellings)

    @staticmethod
    def slots(domain: Domain) -> int:
        """Return the number of entity numbers in a claim's row of the ledger."""
        return sum(len(entity.fields) for entity in domain.entities)

    def apply(self, batch: Batch) -> Vectors:
        """Apply a batch to the state; returns the vectors of its claims, in order."""
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
            if self._distinct_of[column] == name
        ]
        return IdReclaim(
            self._interners[name],
            self._ledger,
            [i for i, (entity, _) in enumerate(self._slots) if entity.name == name],
            [s for w in self._windows if w.entity.name == name for _, s in w.series],
            [g.profiles for g in self._groups if g.group.entity.name == name],
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
        parts += [(f"profiles.{g.group.name}", g.profiles) for g in self._groups]
        for windows in self._windows:
            parts += [(f"windows.{windows.entity.name}.{n}", s) for n, s in windows.series]
        return parts

    def _number_entities(
        self, fields_: Fields, flags: NDArray[np.int64]
    ) -> tuple[ByteStrings, Ids]:
        """Return the claims' `split_by` keys, and their entity numbers [slots, n], -1 for none.

        An entity that is named by two fields of a claim has its number only in the first slot.
        """
        numbers = np.full((len(self._slots), len(fields_)), -1, np.int64)
        first_slot: dict[str, int] = {}
        split_keys = ByteStrings.none(0)
        for slot, (entity, name) in enumerate(self._slots):
            keys, empty = fields_.keys(name, self._rules_of(entity))
            flags[empty] |= PLACEHOLDER
            numbers[slot] = self._interners[entity.name].numbers_of_joined(keys, len(fields_))
            for other in range(first_slot.setdefault(entity.name, slot), slot):
                numbers[slot, numbers[slot] == numbers[other]] = -1
            if (entity, name) == (self.domain.split_by, self.domain.split_by.key):
                split_keys = as_byte_strings(keys)
        return split_keys, numbers

    def _rules_of(self, entity: Entity) -> IdRules:
        """Return the rules of an entity's ids under the edition in force."""
        deny = self.domain.missing_ids(self.edition) | frozenset(entity.deny)
        return id_rules(entity.form, deny, self.edition)

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
            values = self._run_group(state, batch, numbers)
            by_field = dict(zip(state.fields, values, strict=True))
            prefix = f"{PROFILE_PREFIX}{state.group.name}."
            columns.update({prefix + name: column for name, column in by_field.items()})
            for name in state.readers:
                unseen |= by_field[name] < 0
            for each in self.domain.features:
                if isinstance(each, Own) and each.group == state.group.name:
                    columns[each.name] = own_feature(each, by_field[each.field])
        return unseen

    def _run_group(self, state: _GroupState, batch: Batch, numbers: Ids) -> Matrix:
        """Apply the batch to a group; returns its values [fields, claims] as of each claim."""
        entity = state.group.entity
        changes = batch.changes.get(state.group.name, [])
        source = EventColumns([c.event for c in changes], state.group.event)
        keys, _ = source.keys(entity.key, self._rules_of(entity))
        puts = self._interners[entity.name].numbers_of_joined(keys, len(changes))
        gets = numbers[self._slots.index((entity, entity.key))]
        n_puts, n = len(changes), len(changes) + len(batch.fields)
        values = np.full((len(state.fields), n), np.nan, np.float64)
        for i, name in enumerate(state.fields):
            reader = state.readers.get(name)
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
        in_log_order = state.profiles.run(
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
        columns: dict[str, NDArray[np.float64]],
    ) -> None:
        distincts = {
            name: self._distinct_numbers(name, of, fields_, numbers)
            for name, of in self._distinct_of.items()
        }
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
                    len(self._interners[self._distinct_of[d]]) for d in series.distinct_fields
                ]
                found = series.apply(touches, entities, counts, len(batch.fields))
                for i, name in enumerate(series.names):
                    columns[name] = found[:, i]

    def _distinct_numbers(self, name: str, of: str, fields_: Fields, numbers: Ids) -> Ids:
        for slot, (entity, key) in enumerate(self._slots):
            if entity.name == of and key == name:
                return np.asarray(numbers[slot])
        rules = id_rules("id", self.domain.missing_ids(self.edition), self.edition)
        keys, _ = rules.keys(fields_.texts(name))
        found: Ids = self._interners[of].numbers(keys)
        return found

    def _labelled(self, labels: list[Label]) -> list[tuple[int, NDArray[np.int32]]]:
        """Return for each label the time at which its claim was applied, and its entities."""
        found = []
        for label in labels:
            time_ms, entities = self._ledger.claim(label.row)
            found.append((time_ms, entities.copy()))
        return found

    def _assemble(self, columns: dict[str, NDArray[np.float64]], rows: int) -> Matrix:
        matrix = np.empty((rows, len(self.domain.features)), np.float64)
        for i, each in enumerate(self.domain.features):
            if isinstance(each, Computed):
                value = each.expression.evaluate(columns)
                columns[each.name] = np.broadcast_to(value, rows)
            matrix[:, i] = columns[each.name]
        matrix += 0.0  # one representation for zero (-0.0 becomes 0.0)
        matrix[np.isnan(matrix)] = np.nan  # and one for NaN: equal vectors have equal bytes
        return matrix


def _numeric_fields(domain: Domain) -> set[str]:
    """Return the claim's fields that are read as numbers or times."""
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
    """Return the names with a prefix that expressions and rules read, without the prefix."""
    expressions: list[Expression] = [
        f.expression for f in domain.features if isinstance(f, Computed)
    ]
    expressions += [rule.when for rule in domain.rules]
    found = {name for expression in expressions for name in expression.names()}
    return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}


__all__ = ["FRAUD", "LEGIT", "Batch", "Claims", "FeatureState", "Label", "ProfileChange", "Vectors"]
