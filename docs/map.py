"""The map of all folders of the rooms, from the docstrings of their packages."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

from claimtrace.rooms import HOME, ROOMS

BEGIN, END = "<!-- the map: written by docs/generate.py -->", "<!-- end of the map -->"
_WIDTH, _COLUMN = 112, 26


def first_line(folder: Path) -> str:
    """The first line of the docstring of a package."""
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def lines_of(folder: Path, depth: int = 0) -> Iterator[str]:
    """A folder with its line and its files, then the folders in it."""
    name = "  " * depth + folder.name + "/"
    yield f"{name:<{_COLUMN}}{first_line(folder)}"
    files = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    margin = " " * (_COLUMN + 2)
    yield from textwrap.wrap(
        ", ".join(files), _WIDTH, initial_indent=margin, subsequent_indent=margin,
        break_on_hyphens=False,
    )  # fmt: skip
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from lines_of(inner, depth + 1)


def the_map() -> str:
    """The map of all rooms, from the top floor down, as a block of text."""
    rooms = [line for room in ROOMS for line in (*lines_of(HOME / room), "")]
    return "\n".join([BEGIN, "```text", *rooms[:-1], "```", END])


def with_map(page: str) -> str:
    """A page whose map is that of the tree as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + the_map() + after
