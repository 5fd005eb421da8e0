"""The console: output for people, errors with their fix, text from outside made harmless."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from claimtrace.errors import ClaimtraceError, UsageError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def safe(text: object) -> str:
    """Return text from outside without control characters, terminal escapes or markup.

    >>> safe("\\x1b[31m[bold]claim\\r\\n")
    '[31m\\\\[bold]claim'
    """
    plain = "".join(c for c in str(text) if c.isprintable())
    return escape(plain)


def notify(line: str) -> None:
    """Print a line about a pause or an event of a run, on standard error."""
    err.print(f"[yellow]{safe(line)}[/]")


def print_json(thing: Any) -> None:
    """Print one JSON document on standard output, and nothing else, for programs."""
    sys.stdout.write(msgspec.json.encode(thing).decode() + "\n")


def table(title: str, header: list[str], rows: list[list[str]], numbers: int = 0) -> None:
    """Print a plain table; the last `numbers` columns are right-aligned."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None,
                 pad_edge=False, header_style="dim")  # fmt: skip
    for i, name in enumerate(header):
        if i >= len(header) - numbers:
            made.add_column(name, justify="right")
        else:
            made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    out.print(made)


def indented(rows: list[tuple[str, str]]) -> None:
    """Print pairs under a heading; long text wraps below its own column."""
    if not rows:
        return
    grid = Table.grid(padding=(0, 2))
    for first, second in rows:
        grid.add_row(first, second)
    out.print(Padding(grid, (0, 0, 0, 4)))


class _Rate(ProgressColumn):
    """A progress column with the records done and the records a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else ""
        return Text(f"{int(task.completed):>10,} {rate:>10}", style="cyan", no_wrap=True)


@contextmanager
def progress(title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Any]:
    """Show a progress bar on standard error; yields `advance(records, note="")`.

    Without a terminal, or when quiet, no bar is drawn.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<15}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        _Rate(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(records: int, note: str | None = None) -> None:
            if note is not None:
                bar.update(task, note=note)
            bar.update(task, advance=records)

        yield advance
        if total is None:
            bar.update(task, total=max(1.0, bar.tasks[task].completed))


def show_error(error: ClaimtraceError) -> None:
    """Print an error for a user: what went wrong, where, and the fix; never a stack trace."""
    err.print(f"[bold red]error:[/] {safe(error.what)}")
    if error.where:
        err.print(f"  [dim]where[/]  {safe(error.where)}")
    if error.hint:
        err.print(f"  [dim]fix[/]    {safe(error.hint)}")


def write_trace(error: BaseException, log_file: Path) -> Path | None:
    """Append a fault of the product, with its trace, to the log file.

    Returns the file, or None when it can't be written.
    """
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("a") as file:
            file.write("".join(traceback.format_exception(error)) + "\n")
    except OSError:
        return None
    return log_file


def is_users(error: ClaimtraceError) -> bool:
    """Whether the user can fix an error; such errors never show a trace."""
    return isinstance(error, UsageError)
