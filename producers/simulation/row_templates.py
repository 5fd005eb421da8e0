"""Columns to rows: JSON events written from a template of their class, 100,000s a second.

Building a struct a row and encoding it costs about 5 us; filling a template about 2. The template
is made from the class itself, in its order of fields, and a test decodes what it writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from claimtrace.errors import ConfigError
from claimtrace.events import Event

from .draws import Ints

Column = list[Any]
NULL: Final = "null"
_SLOT: Final = re.compile(r"(%0?\d*[ds])")


class RowTemplate:
    """Writes events of one class from columns.

    Args:
        event_class: its field names are the JSON names.
        slots: for each field that is written, JSON text with as many `%` slots as columns, such as
            `'"pol-%07d"'`, `'%s'` for a column of JSON literals, or a constant.
        fused: runs of neighbouring fields that take few values together: each run is one column of
            ready members, made by `fuse` and given under the name of its first field.

    Raises:
        ConfigError: the class has no such field.

    >>> class Ping(Event, topic="pings", id="ping_id", time=""):
    ...     ping_id: str
    ...     size: int = 0
    >>> RowTemplate(Ping, {"size": "%d", "ping_id": '"p-%03d"'}).rows({"ping_id": [7], "size": [2]})
    [b'{"ping_id":"p-007","size":2,"schema_version":1}']
    """

    def __init__(
        self,
        event_class: type[Event],
        slots: Mapping[str, str],
        fused: Sequence[Sequence[str]] = (),
    ) -> None:
        names = [field.name for field in msgspec.structs.fields(event_class)]
        unknown = sorted(set(slots) - set(names))
        if unknown:
            raise ConfigError(
                f"{event_class.__name__} has no field {', '.join(unknown)}",
                where=event_class.__module__,
                hint="the simulator writes the claims domain; hand in its event classes",
            )
        default = next(f for f in msgspec.structs.fields(event_class) if f.name == "schema_version")
        slots = {**slots, "schema_version": str(default.default)}
        ordered = [name for name in names if name in slots]
        firsts = {run[0] for run in fused}
        rest = {name for run in fused for name in run[1:]}
        kept = [name for name in ordered if name not in rest]
        members = ["%s" if name in firsts else f'"{name}":{slots[name]}' for name in kept]
        # Constant text and slots in turn: joining beats `%`, which parses its pattern each row.
        self._pieces = _SLOT.split("{" + ",".join(members) + "}")
        self._names = [name for name in kept if name in firsts or "%" in slots[name]]

    def rows(self, columns: Mapping[str, Column | tuple[Column, ...]]) -> list[bytes]:
        """The events, one a row; every column is as long as the first."""
        flat: list[Column] = []
        for name in self._names:
            column = columns[name]
            flat.extend(column if isinstance(column, tuple) else (column,))
        size = len(flat[0])
        texts: list[Iterable[str]] = [repeat(piece, size) for piece in self._pieces]
        for number, column in enumerate(flat):
            texts[2 * number + 1] = _written(self._pieces[2 * number + 1], column)
        return [row.encode() for row in map("".join, zip(*texts, strict=True))]


def _written(slot: str, column: Column) -> Iterable[str]:
    if slot == "%s":
        return column
    return map(str, column) if slot == "%d" else map(slot.__mod__, column)


def fuse(names: Sequence[str], codes: Sequence[Ints], texts: Sequence[Column | None]) -> Column:
    """One column of JSON members for several fields whose values repeat together.

    Args:
        names: of the fields, in the order of their class.
        codes: for each field its column of small numbers from 0.
        texts: for each field the JSON text of each code; None writes the number itself.

    >>> fuse(["a", "b"], [np.array([0, 1, 0]), np.array([7, 2, 7])], [['"x"', "null"], None])
    ['"a":"x","b":7', '"a":null,"b":2', '"a":"x","b":7']
    """
    joint = np.zeros(len(codes[0]), np.int64)
    sizes = [int(column.max(initial=0)) + 1 for column in codes]
    for column, size in zip(codes, sizes, strict=True):
        joint = joint * size + column
    distinct, where = np.unique(joint, return_inverse=True)
    members: list[list[str]] = []
    for name, size, table in reversed(list(zip(names, sizes, texts, strict=True))):
        values = (distinct % size).tolist()
        distinct = distinct // size
        if table is not None:
            values = [table[value] for value in values]
        members.append([f'"{name}":{value}' for value in values])
    rows = np.empty(len(distinct), object)
    rows[:] = [",".join(reversed(row)) for row in zip(*members, strict=True)]
    fused: Column = rows[where].tolist()
    return fused


def literals(values: Sequence[str | None]) -> npt.NDArray[np.object_]:
    """The JSON texts of a few values, to be picked by code: `literals(STATES)[codes].tolist()`."""
    return np.array([msgspec.json.encode(value).decode() for value in values], object)


def iso_times(times_ms: Ints) -> Column:
    """ISO 8601 with milliseconds, in UTC; the template adds the `Z`, which is faster than numpy.

    >>> iso_times(np.array([0, 1_704_067_200_005]))
    ['1970-01-01T00:00:00.000', '2024-01-01T00:00:00.005']
    """
    texts: Column = np.datetime_as_string(times_ms.astype("datetime64[ms]")).tolist()
    return texts


def nullable(pattern: str, numbers: Ints) -> Column:
    """JSON texts of numbers, `null` where they are negative."""
    quoted = f'"{pattern}"'
    return [NULL if number < 0 else quoted % number for number in numbers.tolist()]
