"""The console: output for people, errors with their fix, text from outside made harmless."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claimtrace.errors import ClaimtraceError

if TYPE_CHECKING:
    from .progress_bar import Advance

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
STACKED_ROWS = 3
"""With so few rows a table that is too wide is shown a line for each value."""
UNLIMITED = 1_000_000

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def safe(text: object) -> str:
    """Return text from outside without control characters, terminal escapes or markup.

    >>> safe("\\x1b[31m[bold]claim\\r\\n")
    '[31m\\\\[bold]claim'
    """
    plain = "".join(c for c in str(text) if c.isprintable())
    return escape(plain)


_listeners: list[Callable[[str], None]] = []


def notify(line: str) -> None:
    """Print a line about a pause or an event of a run, on standard error; or log it.

    A log file on a full disk must not end the worker that says so.
    """
    if _listeners:
        _listeners[-1](line)
        return
    with suppress(OSError):
        err.print(f"[yellow]{safe(line)}[/]", soft_wrap=not err.is_terminal)


@contextmanager
def notices_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Hand the lines of `notify` to a listener, such as a log, instead of printing them."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def program() -> str:
    """Return the words that start this program in the shell that it was started from."""
    name = Path(sys.argv[0])
    if name.name != "claimtrace":
        return f"{shlex.quote(sys.executable)} -m claimtrace"
    found = shutil.which(name.name)
    is_on_path = found is not None and Path(found).resolve() == name.resolve()
    return name.name if is_on_path else shlex.quote(str(name))


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


def table(
    title: str, header: list[str], rows: list[list[str]], numbers: int = 0, under: int = 0
) -> None:
    """Print a table that fits the screen; without a terminal each row is one line.

    Args:
        title: above the table; empty: none.
        header: the names of the columns.
        rows: cells with markup, one a column.
        numbers: how many of the last columns are right-aligned.
        under: how many of the last columns go below each row when the table is too wide.
    """
    from .table_layout import lines_of

    cells = [[Text.from_markup(cell) for cell in row] for row in rows]
    names = [Text.from_markup(name) for name in header]
    _print_lines(title, lines_of(names, cells, screen_width(), numbers, under))


def wide_table(header: list[str], rows: list[list[str]]) -> int:
    """Print a table of any width: few rows are stacked, else columns that don't fit are left out.

    Returns:
        The number of columns that were left out.
    """
    from .table_layout import cut, fitting_columns, lines_of, stacked

    cells = [[Text.from_markup(cell) for cell in row] for row in rows]
    names, width = [Text.from_markup(name) for name in header], screen_width()
    count = fitting_columns(names, cells, width)
    if count < len(names) and len(cells) <= STACKED_ROWS:
        _print_lines("", stacked(names, cells, width))
        return 0
    if width < UNLIMITED:
        cells = [[cut(cell) for cell in row[:count]] for row in cells]
    _print_lines("", lines_of(names[:count], cells, UNLIMITED, 0, 0))
    return len(names) - count


def hanging(label: str, text: str, indent: int) -> None:
    """Print a label and a text whose further lines stand below its first one.

    Args:
        label: with markup; padded by the caller to `indent` characters.
        text: with markup; its styles go when it is wrapped.
        indent: where the text begins.
    """
    from .table_layout import wrapped

    first, *more = wrapped(Text.from_markup(text), max(20, screen_width() - indent))
    out.print(Text.assemble(Text.from_markup(label), first), soft_wrap=True)
    for line in more:
        out.print(Text.assemble(" " * indent, line), soft_wrap=True)


def screen_width() -> int:
    """Return the width of the terminal; without one no line has a limit."""
    return out.width if out.is_terminal else UNLIMITED


def _print_lines(title: str, lines: list[Text]) -> None:
    if title:
        out.print(f"[bold]{title}[/]", soft_wrap=True)
    for line in lines:
        out.print(line, soft_wrap=True)


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
    lines = [f"[bold red]error:[/] {safe(error.what)}"]
    if error.where:
        lines.append(f"  [dim]where[/]  {safe(error.where)}")
    if error.hint:
        lines.append(f"  [dim]fix[/]    {safe(error.hint)}")
    for line in lines:
        err.print(line, soft_wrap=not err.is_terminal)


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
