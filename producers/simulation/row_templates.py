"""Write columns as JSON events from a template of their class, 100,000s a second.

Building and encoding a struct for each row costs about 5 us, filling a template about 2. The
template is made from the class, in the order of its fields, and a test decodes its output.
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
        slots: JSON text of each written field, with as many `%` slots as it has columns, such as
            `'"pol-%07d"'`, `'%s'` for a column of JSON literals, or a constant.
        fused: runs of neighbouring fields with few distinct combinations: each run is one column of
            JSON members, made by `fuse` and passed under the name of its first field.

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
        # constant text and slots alternate: joining is faster than `%`, which parses its pattern
        # for each row
        self._pieces = _SLOT.split("{" + ",".join(members) + "}")
        self._names = [name for name in kept if name in firsts or "%" in slots[name]]

    def rows(self, columns: Mapping[str, Column | tuple[Column, ...]]) -> list[bytes]:
        """Encode an event for each row; all columns have one length."""
        flat: list[Column] = []
        for name in self._names:
            column = columns[name]
            flat.extend(column if isinstance(column, tuple) else (column,))
        size = len(flat[0])
        texts: list[Iterable[str]] = [repeat(piece, size) for piece in self._pieces]
        for number, column in enumerate(flat):
            # the odd pieces are the slots, in the order of the columns
            texts[2 * number + 1] = _written(self._pieces[2 * number + 1], column)
        return [row.encode() for row in map("".join, zip(*texts, strict=True))]


def _written(slot: str, column: Column) -> Iterable[str]:
    """Fill a slot with each value of a column."""
    if slot == "%s":
        return column
    return map(str, column) if slot == "%d" else map(slot.__mod__, column)


def fuse(names: Sequence[str], codes: Sequence[Ints], texts: Sequence[Column | None]) -> Column:
    """Make one column of JSON members for several fields with few distinct combinations.

    Args:
        names: of the fields, in the order of their class.
        codes: for each field its column of small numbers from 0.
        texts: for each field the JSON text of each code; None writes the number itself.

    >>> fuse(["a", "b"], [np.array([0, 1, 0]), np.array([7, 2, 7])], [['"x"', "null"], None])
    ['"a":"x","b":7', '"a":null,"b":2', '"a":"x","b":7']
    """
    # a combination is a number in mixed radix: each distinct one is written once
    joint = np.zeros(len(codes[0]), np.int64)
    sizes = [int(column.max(initial=0)) + 1 for column in codes]
    for column, size in zip(codes, sizes, strict=True):
        joint = joint * size + column
    distinct, where = np.unique(joint, return_inverse=True)
    members: list[list[str]] = []
    # the digits are taken from the last field to the first
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
    """Encode a few values as JSON, to be picked by code: `literals(STATES)[codes].tolist()`."""
    return np.array([msgspec.json.encode(value).decode() for value in values], object)


def iso_times(times_ms: Ints) -> Column:
    """Format times as ISO 8601 in UTC; the template adds the `Z`, which is faster than numpy.

    >>> iso_times(np.array([0, 1_704_067_200_005]))
    ['1970-01-01T00:00:00.000', '2024-01-01T00:00:00.005']
    """
    texts: Column = np.datetime_as_string(times_ms.astype("datetime64[ms]")).tolist()
    return texts


def nullable(pattern: str, numbers: Ints) -> Column:
    """Format numbers as JSON texts, `null` for negative ones."""
    quoted = f'"{pattern}"'
    return [NULL if number < 0 else quoted % number for number in numbers.tolist()]
