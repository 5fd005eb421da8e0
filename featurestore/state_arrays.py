"""State as named arrays: what goes into a snapshot, and comes out of it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""All state of a part, by name; parts of a part have names with a prefix."""


def under(prefix: str, arrays: Arrays) -> Arrays:
    """The same arrays under a prefix.

    >>> list(under("ids/", {"count": None}))
    ['ids/count']
    """
    return {prefix + name: array for name, array in arrays.items()}


def below(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays that have a prefix, without it.

    >>> list(below("ids/", {"ids/count": None, "times": None}))
    ['count']
    """
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
