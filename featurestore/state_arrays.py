"""State as named arrays, the form in which it is written to and read from snapshots."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""The state of a component by array name; nested components' names have a prefix."""


def under(prefix: str, arrays: Arrays) -> Arrays:
    """Return the arrays with a prefix before each name.

    >>> list(under("ids/", {"count": None}))
    ['ids/count']
    """
    return {prefix + name: array for name, array in arrays.items()}


def below(prefix: str, arrays: Arrays) -> Arrays:
    """Return the arrays whose name has a prefix, with the prefix removed.

    >>> list(below("ids/", {"ids/count": None, "times": None}))
    ['count']
    """
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
