"""Rows of the offline store as pandas: filters, times as datetimes, integers with missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from claimtrace.clock import TIME_HINT, time_ms
from claimtrace.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    from featurestore.offline.adapters.delta import OfflineStore

Time = str | date | datetime
"""A date or time: `"2025-03-01"`, `"2025-03-01T12:00Z"`, or Python's own; without a zone it is
UTC."""
Words = str | Sequence[str]

_ORDER: Final = ("log_time_ms", "partition", "position")


def ms_of(when: Time, where: str) -> int:
    """Return a time in ms since 1970 UTC.

    Raises:
        UsageError: it is none.

    >>> ms_of("1970-01-02", "since"), ms_of(date(1970, 1, 2), "since")
    (86400000, 86400000)
    """
    try:
        if isinstance(when, str):
            return time_ms(when)
        if isinstance(when, datetime):
            aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
            return round(aware.timestamp() * 1000)
        if isinstance(when, date):
            return round(datetime(when.year, when.month, when.day, tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"not a time: {error}", where=where, hint=TIME_HINT) from None
    raise UsageError("not a time", where=where, hint=TIME_HINT)


class Filter:
    """Conditions on columns that all must hold; an argument that is None asks for nothing.

    >>> str(Filter().words("outcome", ["refer"]).at_least("score", 0.5).mask)
    '(is_in(outcome, {value_set=string:[...], ...}) and (score >= 0.5))'
    """

    def __init__(self) -> None:
        self.mask: pc.Expression | None = None

    def words(self, column: str, among: Words | None) -> Filter:
        """Keep rows with one of some words."""
        if among is not None:
            listed = [among] if isinstance(among, str) else list(among)
            if not all(isinstance(each, str) for each in listed):
                raise UsageError("give a text, or a list of texts", where=column)
            self._also(_among(column, listed, "string"))
        return self

    def numbers(self, column: str, among: int | Sequence[int] | None) -> Filter:
        """Keep rows with one of some whole numbers."""
        if among is not None:
            listed = [among] if isinstance(among, int) else list(among)
            if not all(isinstance(each, int) for each in listed):
                raise UsageError("give a whole number, or a list of them", where=column)
            self._also(_among(column, listed, "int64"))
        return self

    def at_least(self, column: str, least: float | None) -> Filter:
        """Keep rows with at least a number; those without one are left out."""
        if least is not None:
            if not isinstance(least, int | float):
                raise UsageError("give a number", where=column)
            self._also(_field(column) >= least)
        return self

    def between(self, column: str, since: Time | None, until: Time | None) -> Filter:
        """Keep rows from a time on, and before another one."""
        if since is not None:
            self._also(_field(column) >= ms_of(since, "since"))
        if until is not None:
            self._also(_field(column) < ms_of(until, "until"))
        return self

    def known_by(self, column: str, when: Time | None) -> Filter:
        """Keep rows that were known at a time."""
        if when is not None:
            self._also(_field(column) <= ms_of(when, "known_by"))
        return self

    def _also(self, more: Any) -> None:
        self.mask = more if self.mask is None else self.mask & more


def _field(column: str) -> Any:
    import pyarrow.compute as pc

    return pc.field(column)


def _among(column: str, listed: Sequence[Any], kind: str) -> Any:
    import pyarrow as pa

    try:
        return _field(column).isin(pa.array(listed, kind))
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise UsageError(f"no such value: {error}", where=column) from None


def rows_of(
    store: OfflineStore, table: str, wanted: Filter, columns: Sequence[str], last: int | None
) -> pa.Table:
    """Return the rows of a table that a filter keeps, in the order of the log.

    Args:
        store: the offline store.
        table: one of its tables; one that doesn't exist yet has no rows.
        wanted: the filter.
        columns: the columns.
        last: at most so many, the newest; None: all.

    Raises:
        UsageError: `last` is no count.
        StateError: a file of the table is missing or damaged.
    """
    import pyarrow as pa

    from featurestore.offline.adapters.delta_errors import reading_errors
    from featurestore.offline.tables import SCHEMAS

    if last is not None and last < 0:
        raise UsageError("a count isn't negative", where="last")
    needed = list(dict.fromkeys([*columns, *_ORDER]))
    if table not in store.tables():
        schema = SCHEMAS[table]
        return schema.empty_table().select(list(columns))
    dataset = store.dataset(table)
    there = set(dataset.schema.names)  # a table of an older version has fewer columns
    with reading_errors(table):
        found = dataset.to_table(columns=[c for c in needed if c in there], filter=wanted.mask)
    for name in needed:
        if name not in there:
            field = SCHEMAS[table].field(name)
            found = found.append_column(field, pa.nulls(found.num_rows, field.type))
    found = found.sort_by([(name, "ascending") for name in _ORDER])
    if last is not None:
        found = found.slice(max(0, found.num_rows - last))
    return found.select(list(columns))


def frame(found: pa.Table) -> pd.DataFrame:
    """Return rows as pandas.

    Columns whose names end in `_ms` become datetimes in UTC and lose that ending. Integers (cents,
    counts, versions) become `Int64` and truth values `boolean`, which can be missing; numbers stay
    `float64`, texts become `string`, lists stay lists.

    >>> import pyarrow as pa
    >>> frame(pa.table({"at_ms": [0], "amount_cents": [None]}, pa.schema(
    ...     [("at_ms", pa.int64()), ("amount_cents", pa.int64())]))).dtypes.astype(str).to_dict()
    {'at': 'datetime64[ms, UTC]', 'amount_cents': 'Int64'}
    """
    import pandas as pd

    made = {name.removesuffix("_ms"): _series(name, found[name]) for name in found.column_names}
    return pd.DataFrame(made)


def _series(name: str, column: pa.ChunkedArray) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind) and name.endswith("_ms"):
        instants: pd.Series[Any] = column.cast(pa.timestamp("ms", tz="UTC")).to_pandas()
        return instants
    if pa.types.is_list(kind):
        return pd.Series(column.to_pylist(), dtype="object")
    if pa.types.is_integer(kind):
        column = column.cast(pa.int64())
    missing = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype(),
               pa.string(): pd.StringDtype()}  # fmt: skip
    found: pd.Series[Any] = column.to_pandas(types_mapper=missing.get)
    return found


def vectors_frame(found: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Return served vectors with a `float64` column for each feature; NaN is missing.

    Args:
        found: rows of `decisions` under one digest of definitions, with their `features`.
        names: the features, in the order of the vector.
    """
    import numpy as np
    import pandas as pd

    column = found["features"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    matrix = flat.reshape(found.num_rows, len(names))
    beside = frame(found.drop_columns(["features"]))
    return pd.concat([beside, pd.DataFrame(matrix, columns=list(names))], axis=1)
