"""From the fields of claims to columns, and from columns to vectors: all of it without state.

`FeatureState` reads a batch by it before and after it asks the state; `FeatureLook` reads claims
that change nothing by another one, so that what a stranger asks never fills the stream's caches of
spellings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.buffers.siphash import Key
from claimtrace.editions import NEWEST
from claimtrace.encoding.json_columns import JsonColumnReader, JsonColumns
from claimtrace.event_flags import INCOMPLETE, PLACEHOLDER, UNSEEN

from ..definitions.domain import Domain
from ..definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from ..definitions.features import Computed, Group, Own, WindowFeature
from ..fields.claim_columns import ClaimColumns, Spellings, can_be_read
from ..fields.event_columns import CategoryReader, EventColumns, known_values, own_feature
from ..fields.id_rules import id_rules
from ..fields.interning import Ids, Interner, PassingIds, as_byte_strings

Matrix = NDArray[np.float64]
Fields = EventColumns | ClaimColumns
Columns = dict[str, NDArray[np.float64]]
"""Features, `field:` and `profile:` numbers of claims, by name."""


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
    columns: Columns
    amounts: NDArray[np.float64]


class GroupReading:
    """What is read of a profile group: its fields, and the readers of those with categories."""

    def __init__(self, domain: Domain, group: Group) -> None:
        own = [f for f in domain.features if isinstance(f, Own) and f.group == group.name]
        prefix = f"{PROFILE_PREFIX}{group.name}."
        self.group = group
        self.fields = sorted({each.field for each in own} | _read_names(domain, prefix))
        known = {each.field: known_values(each) for each in own if known_values(each)}
        self.readers = {name: CategoryReader(values) for name, values in known.items()}


class ClaimReading:
    """What the features of a domain read from claims, and how vectors are made of columns.

    Args:
        domain: the definitions.
        key: the secret key of the cache of spellings.
    """

    def __init__(self, domain: Domain, key: Key) -> None:
        self._domain = domain
        self.entities = domain.entities
        self.slots = [(e, name) for e in self.entities for name in e.fields]
        """The entity and the field of each entity number of a claim."""
        own = [f for f in domain.features if isinstance(f, Own)]
        self._readers = {
            d.field: CategoryReader(known_values(d)) for d in own if known_values(d) and not d.group
        }
        self._spellings = {name: Spellings(each, key) for name, each in self._readers.items()}
        self._numeric = sorted(_numeric_fields(domain))
        windows = [f for f in domain.features if isinstance(f, WindowFeature)]
        distincts = sorted({f.value for f in windows if f.aggregate == "distinct"})
        by_key = {e.key: e.name for e in self.entities}
        self.distinct_of = {name: by_key.get(name, f"value.{name}") for name in distincts}
        """Field whose distinct values are counted -> the name of the index of its values."""
        self.begin(NEWEST)

    def begin(self, edition: int) -> None:
        """Read ids by an edition from now on."""
        missing = self._domain.missing_ids(edition)
        self.rules = {
            e: id_rules(e.form, missing | frozenset(e.deny), edition) for e in self.entities
        }
        self._value_rules = id_rules("id", missing, edition)

    def can_read(self, reader: JsonColumnReader) -> bool:
        """Whether the fast reader delivers every field of a claim that the features read."""
        return can_be_read(
            reader,
            numbers=set(self._numeric),
            categories=set(self._readers),
            keys={name for _, name in self.slots},
            texts=set(self.distinct_of),
        )

    def fields_of(self, columns: JsonColumns) -> ClaimColumns:
        """Return the fields of claims that the fast reader has read."""
        return ClaimColumns(columns, self._spellings)

    def slots_of(self, name: str) -> list[int]:
        """Return the slots of a kind of entity, by its name; the primary slot first."""
        return [i for i, (entity, _) in enumerate(self.slots) if entity.name == name]

    def number_entities(
        self,
        fields_: Fields,
        ids: Mapping[str, Interner] | Mapping[str, PassingIds],
        flags: NDArray[np.int64],
    ) -> tuple[ByteStrings, Ids]:
        """Return the claims' `split_by` keys, and their entity numbers [slots, n], -1 for none.

        An entity that is named by two fields of a claim has its number only in the first slot.

        Args:
            fields_: of n claims.
            ids: the indexes of ids, by the name of their kind of entity.
            flags: int64[n]; gets the flag of placeholders.
        """
        numbers = np.full((len(self.slots), len(fields_)), -1, np.int64)
        first_slot: dict[str, int] = {}
        split_keys = ByteStrings.none(0)
        split = self._domain.split_by
        for slot, (entity, name) in enumerate(self.slots):
            keys, empty = fields_.keys(name, self.rules[entity])
            flags[empty] |= PLACEHOLDER
            numbers[slot] = ids[entity.name].numbers_of_joined(keys, len(fields_))
            for other in range(first_slot.setdefault(entity.name, slot), slot):
                numbers[slot, numbers[slot] == numbers[other]] = -1
            if (entity, name) == (split, split.key):
                split_keys = as_byte_strings(keys)
        return split_keys, numbers

    def number_distincts(
        self,
        fields_: Fields,
        ids: Mapping[str, Interner] | Mapping[str, PassingIds],
        numbers: Ids,
    ) -> dict[str, Ids]:
        """Return the numbers int64[n] of each field whose distinct values are counted."""
        return {
            name: self._distinct_numbers(name, ids[of], of, fields_, numbers)
            for name, of in self.distinct_of.items()
        }

    def _distinct_numbers(
        self, name: str, ids: Interner | PassingIds, of: str, fields_: Fields, numbers: Ids
    ) -> Ids:
        for slot, (entity, key) in enumerate(self.slots):
            if entity.name == of and key == name:
                return np.asarray(numbers[slot])
        keys, _ = self._value_rules.keys(fields_.texts(name))
        return ids.numbers(keys)

    def own_columns(self, fields_: Fields) -> tuple[Columns, NDArray[np.bool_]]:
        """Return the columns of the claims' own fields, and which claims have unseen categories."""
        columns: Columns = {FIELD_PREFIX + name: fields_.number(name) for name in self._numeric}
        unseen = np.zeros(len(fields_), np.bool_)
        codes = {name: fields_.codes(name, reader) for name, reader in self._readers.items()}
        for column in codes.values():
            unseen |= column < 0
        for each in self._domain.features:
            if isinstance(each, Own) and not each.group:
                source = codes.get(each.field)
                column = source if source is not None else columns[FIELD_PREFIX + each.field]
                columns[each.name] = own_feature(each, column)
        return columns, unseen

    def add_profiles(
        self,
        reading: GroupReading,
        values: Matrix,
        columns: Columns,
        unseen: NDArray[np.bool_],
    ) -> None:
        """Add the columns of a profile group, whose values are [fields, n]; notes the unseen."""
        by_field = dict(zip(reading.fields, values, strict=True))
        prefix = f"{PROFILE_PREFIX}{reading.group.name}."
        columns.update({prefix + name: column for name, column in by_field.items()})
        for name in reading.readers:
            unseen |= by_field[name] < 0
        for each in self._domain.features:
            if isinstance(each, Own) and each.group == reading.group.name:
                columns[each.name] = own_feature(each, by_field[each.field])

    def vectors(
        self,
        columns: Columns,
        flags: NDArray[np.int64],
        unseen: NDArray[np.bool_],
        split_keys: ByteStrings,
    ) -> Vectors:
        """Return the vectors of n claims, whose columns are complete but for expressions."""
        rows = len(flags)
        flags[unseen] |= UNSEEN
        matrix = self._assemble(columns, rows)
        flags[split_keys.sizes == 0] |= INCOMPLETE
        amounts = columns.get(FIELD_PREFIX + self._domain.amount, np.full(rows, np.nan))
        return Vectors(matrix, flags, split_keys, columns, amounts)

    def _assemble(self, columns: Columns, rows: int) -> Matrix:
        matrix = np.empty((rows, len(self._domain.features)), np.float64)
        for i, each in enumerate(self._domain.features):
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
