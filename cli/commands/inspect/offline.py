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
    if as_json:
        print_json(found.to_pylist())
        return
    shown = found.slice(0, _SHOWN_ROWS).to_pylist()
    rows = [[safe(_cell(value)) for value in row.values()] for row in shown]
    left_out = wide_table([safe(name) for name in found.column_names], rows)
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


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return value[:60].decode(errors="replace")
    return str(value)
