"""The progress bar of long commands; a file of its own, since its library is slow to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, records: int, note: str | None = None) -> None:
        """Add to the records that are done; a note stands beside the bar."""


class _Rate(ProgressColumn):
    """A progress column with the records done and the records a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else ""
        return Text(f"{int(task.completed):>10,} {rate:>10}", style="cyan", no_wrap=True)


@contextmanager
def progress_bar(
    title: str, total: int | None, console: Console, *, disable: bool
) -> Iterator[Advance]:
    """Show a progress bar on a console; `total` is None when the end isn't known."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<15}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        _Rate(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console, disable=disable) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(records: int, note: str | None = None) -> None:
            if note is not None:
                bar.update(task, note=note)
            bar.update(task, advance=records)

        yield advance
        if total is None:
            bar.update(task, total=max(1.0, bar.tasks[task].completed))
