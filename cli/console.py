"""The console: output for people, errors with their fix, text from outside made harmless."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import traceback
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from claimtrace.errors import ClaimtraceError

if TYPE_CHECKING:
    from .progress_bar import Advance

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")

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
    """Print a line about a pause or an event of a run, on standard error.

    A log file on a full disk must not end the worker that says so.
    """
    with suppress(OSError):
        err.print(f"[yellow]{safe(line)}[/]")


def readable_output() -> None:
    """Let text that the terminal's encoding doesn't have be shown as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence_output() -> None:
    """Let Python's last flush go nowhere: whoever read our output has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(thing: Any) -> None:
    """Print one JSON document on standard output, and nothing else, for programs.

    Outside of ASCII the text is escaped, as JSON allows, where the encoding isn't UTF-8.
    """
    text = msgspec.json.encode(thing).decode()
    if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        text = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    sys.stdout.write(text + "\n")


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


def progress(
    title: str, total: int | None = None, *, quiet: bool = False
) -> AbstractContextManager[Advance]:
    """Show a progress bar on standard error; yields `advance(records, note="")`.

    Without a terminal, or when quiet, no bar is drawn.
    """
    from .progress_bar import progress_bar

    return progress_bar(title, total, err, disable=quiet or not err.is_terminal)


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
