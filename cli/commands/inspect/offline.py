"""`claimtrace offline`: ask the offline store."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ...console import STACKED_ROWS, out, print_json, safe, table, wide_table

offline_app = typer.Typer(help="The offline store: every event, decision, label and profile.")
_SHOWN_ROWS = 50


@offline_app.command()
def sql(
    ctx: typer.Context,
    query: Annotated[
        str, typer.Argument(help="A query over the tables; `offline tables` lists them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Ask the offline store in SQL, read-only.

    `vectors` is a view of the served vectors with a named column for each feature:

        claimtrace offline sql "select outcome, count(*) from decisions group by 1"
    """
    found = ctx.obj.offline.sql(query)
    names = _unique(found.column_names)
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in _rows(found)])
        return
    shown = _rows(found.slice(0, _SHOWN_ROWS))
    rows = [[safe(_cell(value)) for value in row] for row in shown]
    left_out = wide_table([safe(name) for name in names], rows)
    if left_out:
        out.print(f"[dim]{left_out:,} more columns: ask for fewer, or for {STACKED_ROWS} rows at "
                  "most; --json prints all[/]", soft_wrap=True)  # fmt: skip
    if found.num_rows > _SHOWN_ROWS:
        out.print(f"[dim]{found.num_rows - _SHOWN_ROWS:,} more rows; --json prints all[/]")


@offline_app.command()
def tables(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the tables, how many rows each has, and its version."""
    store = ctx.obj.offline
    found = {
        name: {"version": version, "rows": store.count(name)}
        for name, version in sorted(store.tables().items())
    }
    if as_json:
        print_json(found)
        return
    rows = [[name, f"{each['rows']:,}", str(each["version"])] for name, each in found.items()]
    table("", ["table", "rows", "version"], rows, numbers=2)


def _rows(found: Any) -> list[tuple[Any, ...]]:
    """Return the rows of an Arrow table as values that JSON has."""
    columns = [[_plain(value) for value in column] for column in found.columns]
    return list(zip(*columns, strict=True))


def _plain(scalar: Any) -> Any:
    """Return an Arrow value as Python's, as text where Python's dates end or JSON has no form.

    >>> import pyarrow as pa
    >>> _plain(pa.scalar(253_402_300_800_000, pa.timestamp("ms")))
    '10000-01-01 00:00:00.000'
    >>> _plain(pa.scalar([2**31 - 1], pa.list_(pa.date32())))
    ['infinity']
    """
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError):
        kind = str(scalar.type)
        if kind.startswith("struct"):
            return {name: _plain(value) for name, value in scalar.items()}
        if kind.startswith(("list", "large_list", "map", "fixed_size_list")):
            return [_plain(value) for value in scalar.values]
        if hasattr(scalar.value, "as_py"):  # of a union or a dictionary
            return _plain(scalar.value)
        text = str(scalar.cast("string"))
        if text.startswith("<"):  # DuckDB's infinities are the type's ends
            return "-infinity" if scalar.value < 0 else "infinity"
        return text
    return value.isoformat() if type(value).__module__.startswith("pandas") else value


def _unique(names: list[str]) -> list[str]:
    """Return names of columns of which no two are equal.

    >>> _unique(["n", "n", "m"])
    ['n', 'n_1', 'm']
    """
    found: dict[str, None] = {}
    for name in names:
        number, free = 0, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found[free] = None
    return list(found)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return value[:60].decode(errors="replace")
    return str(value)
