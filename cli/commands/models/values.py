"""The values of a manifest as lines of a table: a path and a text each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MOST_SHOWN = 400
"""Characters of one value that a table shows."""


def flat(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of nested tables, each with its path; a table of plain values is one.

    >>> list(flat({"a": {"b": {"c": 1.5}}, "d": ["x", "y"]}))
    [('a.b', 'c 1.5'), ('d', 'x, y')]
    """
    for name, value in part.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
            yield from flat(value, path)
        elif isinstance(value, dict):
            yield path, ", ".join(f"{key} {_short(each)}" for key, each in value.items())
        elif isinstance(value, list):
            yield path, ", ".join(_short(each) for each in value)
        else:
            yield path, _short(value)


def fitting(value: str) -> str:
    """Return a value that a table has room for."""
    return value if len(value) <= _MOST_SHOWN else "(long: --json prints it)"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
