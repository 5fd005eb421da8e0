"""Columns of numbers, times and category codes from the decoded events of one batch.

Every column is float64 with NaN for missing. Negative zero and subnormal numbers become positive
zero, so that equal values have equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.events import Event, time_ms

from ..definitions.features import Own
from .id_rules import IdRules
from .interning import join_strings
from .normalisation import normal_category

Column = NDArray[np.float64]

UNSEEN_CODE = -1.0
"""The code of a category that the definitions don't list."""

_SMALLEST_NORMAL = np.finfo(np.float64).tiny
_CACHE_LIMIT = 10_000  # spellings cached for one field: bounds what hostile input can use


class EventColumns:
    """The fields of a list of events of one type, read by name."""

    def __init__(self, events: Sequence[Event], kind: type[Event]) -> None:
        self._count = len(events)
        rows = [msgspec.structs.astuple(event) for event in events]
        names = kind.__struct_fields__
        self._columns: dict[str, Sequence[Any]] = (
            dict(zip(names, zip(*rows, strict=True), strict=True))
            if rows
            else dict.fromkeys(names, ())
        )

    def __len__(self) -> int:
        return self._count

    def raw(self, name: str) -> Sequence[Any]:
        """Return the decoded values of a field, None for missing."""
        return self._columns[name]

    def codes(self, name: str, reader: CategoryReader) -> Column:
        """Return the category codes of a field."""
        return reader.codes(self.raw(name))

    def keys(self, name: str, rules: IdRules) -> tuple[NDArray[np.uint8], list[int]]:
        """Return normalised ids as `join_strings` does, and the rows that held placeholders."""
        found, placeholders = rules.keys(list(self.raw(name)))
        return join_strings(found), placeholders

    def texts(self, name: str) -> list[str | None]:
        """Return a field as texts, None for missing."""
        return [None if value is None else str(value) for value in self.raw(name)]

    def number(self, name: str) -> Column:
        """Return a field as float64, NaN for missing; times in ms since 1970."""
        values = self._columns[name]
        first = next((value for value in values if value is not None), None)
        if isinstance(first, datetime):
            times = [np.nan if value is None else time_ms(value) for value in values]
            return np.array(times, np.float64)
        column = np.array(values, np.float64) if len(values) else np.empty(0, np.float64)
        column[np.abs(column) < _SMALLEST_NORMAL] = 0.0
        return column


class CategoryReader:
    """Codes of one field's categories: index in the known values, NaN if missing, -1 if unseen."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(normal_category(value) for value in known)
        self._codes: dict[Any, float] = {None: np.nan}

    def codes(self, values: Sequence[Any]) -> Column:
        """Return the code of each value."""
        found = self._codes
        try:  # almost always every spelling is cached
            return np.array([found[value] for value in values], np.float64)
        except KeyError:
            return np.array([self.code(value) for value in values], np.float64)

    def code(self, value: Any) -> float:
        """Return the code of one value."""
        code = self._codes.get(value)
        if code is None:
            category = normal_category(str(value))
            known = self.known
            code = float(known.index(category)) if category in known else UNSEEN_CODE
            if len(self._codes) < _CACHE_LIMIT:
                self._codes[value] = code
        return code


def own_feature(definition: Own, column: Column) -> Column:
    """Return the column of a feature from the column of its field (numbers or category codes)."""
    if definition.equals:
        code = float(definition.among.index(definition.equals))
        is_this: Column = (column == code).astype(np.float64)
        return is_this
    if definition.order:
        seen: Column = np.where(column == UNSEEN_CODE, np.nan, column)
        return seen
    if definition.unit != 1:
        whole: Column = np.floor(column / definition.unit)
        return whole
    return column


def known_values(definition: Own) -> tuple[str, ...]:
    """Return the known categories of a feature's field; empty for numbers."""
    return definition.order or definition.among
