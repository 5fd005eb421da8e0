"""The graph of a pipeline: which steps each step waits for, by what they read and set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .declared import DECLARED, SHARED, Uses


def needs_of(
    names: Sequence[str], declared: Mapping[str, Uses] = DECLARED
) -> dict[str, tuple[str, ...]]:
    """Return, for each step, the earlier steps whose results it reads, in their order.

    A step that isn't declared waits for all before it.

    >>> needs_of(["collect", "split", "calibrate"])["split"]
    ('collect',)
    """
    setters: dict[str, str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(names):
        uses = declared.get(name)
        if uses is None:
            found[name] = tuple(names[:place])
            continue
        wanted = {setters[read] for read in uses.reads if read in setters}
        found[name] = tuple(each for each in names[:place] if each in wanted)
        setters.update(dict.fromkeys(set(uses.sets) - SHARED, name))
    return found


def ancestors_of(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Return all steps that a step waits for, and those that these wait for.

    >>> sorted(ancestors_of("c", {"a": (), "b": ("a",), "c": ("b",)}))
    ['a', 'b']
    """
    found: set[str] = set()
    left = list(needs.get(name, ()))
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += needs.get(each, ())
    return found
