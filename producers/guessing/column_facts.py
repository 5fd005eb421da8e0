"""Facts about a column of a table, from a sample of its cells; nothing is refused here.

A fact holds for every cell of the sample that isn't empty, so that a mapping made from the facts
reads the whole sample.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from claimtrace.events import ID_PATTERN
from claimtrace.limits import EVENT_TIME_MIN_MS, MAX_ID_CHARS

CellKind = Literal["text", "number", "bool", "time", "other"]
ValueType = Literal["empty", "integer", "decimal", "bool", "time", "text", "other"]

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.0+)?", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,15})?", re.ASCII)
_ID: Final = re.compile(ID_PATTERN)
_BOOLS: Final = frozenset(["true", "false", "yes", "no", "y", "n", "t", "f"])
_DATES: Final = ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y%m%d")
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S")
PATTERNS: Final = tuple(date + clock for date in _DATES for clock in _CLOCKS)
"""Forms of a time beside ISO 8601; month first where both orders fit, which `Times` says."""

_SECONDS: Final = (EVENT_TIME_MIN_MS // 1000, 4_102_444_800)
_MOST_COUNTED: Final = 1_000


class Column(NamedTuple):
    """A column of a sample: its name as in the file, what the file says of its cells, the cells."""

    name: str
    kind: CellKind
    cells: list[str | None]


class Times(NamedTuple):
    """The way to read a column of times: a unit and a format as a mapping has them."""

    unit: Literal["iso", "ms", "s"]
    format: str = ""
    other: str = ""
    """Another format that fits as well, such as day before month; empty: none."""


@dataclass(frozen=True)
class Facts:
    """The facts of one column, as far as the sample goes."""

    type: ValueType
    rows: int
    filled: int
    """Cells that aren't empty."""
    distinct: int
    values: tuple[tuple[str, int], ...] = ()
    """The commonest values and their counts, the commonest first; at most a thousand."""
    decimals: int = 0
    low: float = 0.0
    high: float = 0.0
    times: Times | None = None
    """How to read the column as times, if it can be; numbers that may be times too."""
    fits_ids: bool = False
    """Whether every cell is filled, another one, and allowed as the id of an event."""


def facts_of(column: Column) -> Facts:
    """Return the facts of a column.

    >>> facts_of(Column("Amount", "text", ["10.50", "7", None])).type
    'decimal'
    >>> facts_of(Column("When", "text", ["31.12.2024 09:15"])).times
    Times(unit='iso', format='%d.%m.%Y %H:%M', other='')
    """
    cells = [cell.strip() for cell in column.cells if cell is not None and cell.strip()]
    counts = Counter(cells)
    rows, filled, distinct = len(column.cells), len(cells), len(counts)
    if column.kind == "other":
        return Facts("other", rows, filled, distinct)
    if not filled:
        return Facts("empty", rows, 0, 0)
    values = tuple(sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:_MOST_COUNTED])
    fits_ids = (
        filled == distinct == rows
        and column.kind != "bool"
        and cells == column.cells
        and all(_ID.match(cell) and len(cell) <= MAX_ID_CHARS for cell in cells)
    )
    kind: ValueType = "text"
    decimals, low, high, times = 0, 0.0, 0.0, None
    if column.kind == "bool" or (distinct == 2 and all(c.lower() in _BOOLS for c in counts)):
        kind = "bool"
    elif all(map(_DECIMAL.fullmatch, counts)):  # 007 isn't one: its zeros belong to a code
        numbers = [float(cell) for cell in counts]
        low, high = min(numbers), max(numbers)
        decimals = max(len(cell.partition(".")[2].rstrip("0")) for cell in counts)
        kind = "integer" if all(map(_INTEGER.fullmatch, counts)) else "decimal"
        times = _number_times(low, high, decimals) or _text_times(list(counts))
    else:
        times = _text_times(list(counts))
        kind = "time" if times is not None else "text"
    return Facts(kind, rows, filled, distinct, values, decimals, low, high, times, fits_ids)


def _number_times(low: float, high: float, decimals: int) -> Times | None:
    first, last = _SECONDS
    if decimals == 0 and first <= low and high <= last:
        return Times("s")
    if decimals == 0 and first * 1000 <= low and high <= last * 1000:
        return Times("ms")
    return None


def _text_times(cells: list[str]) -> Times | None:
    """Return how to read all cells as times, or None."""
    if all(_is_iso(cell) for cell in cells):
        return Times("iso")
    fitting = [pattern for pattern in PATTERNS if all(fits(cell, pattern) for cell in cells)]
    if not fitting:
        return None
    return Times("iso", fitting[0], fitting[1] if len(fitting) > 1 else "")


def _is_iso(cell: str) -> bool:
    if len(cell) < 10 or cell[4:5] != "-":
        return False  # 20250131 is a number first
    try:
        return _in_range(datetime.fromisoformat(cell))
    except ValueError:
        return False


def fits(cell: str, pattern: str) -> bool:
    """Whether a cell is a time of a `strptime` pattern."""
    try:
        return _in_range(datetime.strptime(cell, pattern).replace(tzinfo=UTC))
    except ValueError:
        return False


def _in_range(when: datetime) -> bool:
    return 1990 <= when.year < 2100
