"""The kept result of a step: what it set, and what it added to lists and dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from claimtrace.errors import StateError

from ..run import TrainingRun
from .codec import MAX_BYTES, decode, encode_kept
from .declared import Uses

MAX_KEPT_BYTES = 2 * MAX_BYTES
"""Size limit of the bytes of one result."""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of a step.

    Attributes:
        run: the run that computed it.
        outputs: digests of what the step set.
        values: what it set, by attribute, each as bytes of the codec.
        added: what it added to a list or a dict that was there before.
    """

    run: str
    outputs: dict[str, str]
    values: dict[str, bytes]
    added: dict[str, bytes]


def grown_before(run: TrainingRun, uses: Uses) -> dict[str, Any]:
    """Return how the lists and dicts are that a step may add to, before it runs."""
    there = {name: getattr(run, name, None) for name in uses.sets}
    return {
        name: len(value) if isinstance(value, list) else dict(value)
        for name, value in there.items()
        if isinstance(value, list | dict)
    }


def added_since(run: TrainingRun, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was added to those lists and dicts since."""
    found: dict[str, Any] = {}
    for name, was in before.items():
        now = getattr(run, name)
        if isinstance(now, list):
            found[name] = now[was:]
        else:
            found[name] = {
                key: value for key, value in now.items() if key not in was or was[key] is not value
            }
    return found


def encode_result(
    run: TrainingRun,
    uses: Uses,
    before: Mapping[str, Any],
    outputs: Mapping[str, str],
    types: Mapping[str, Any],
) -> bytes | None:
    """Write the result of a step that has just run; None if a part of it can't be kept."""
    added = added_since(run, before)
    parts: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
    for name in uses.sets:
        value = added[name] if name in added else getattr(run, name)
        content = encode_kept(value, types[name])
        if content is None:
            return None
        parts[name in added][name] = content
    result = Kept(run.run_id, dict(outputs), parts[False], parts[True])
    content = msgspec.msgpack.encode(result)
    return content if len(content) <= MAX_KEPT_BYTES else None


def decode_result(content: bytes | None) -> Kept | None:
    """Read a kept result; None for bytes that are none."""
    try:
        return None if content is None else msgspec.msgpack.decode(content, type=Kept)
    except (msgspec.MsgspecError, RecursionError):
        return None


def take_over(run: TrainingRun, kept: Kept, uses: Uses, types: Mapping[str, Any]) -> bool:
    """Set what a step would set; returns False, and sets nothing, if the result can't be used."""
    if {*kept.values, *kept.added} != set(uses.sets):
        return False
    try:
        values = {name: decode(part, types[name]) for name, part in kept.values.items()}
        added = {name: decode(part, types[name]) for name, part in kept.added.items()}
    except StateError:
        return False
    if any(not isinstance(getattr(run, name, None), type(part)) for name, part in added.items()):
        return False
    for name, value in values.items():
        setattr(run, name, value)
    for name, part in added.items():
        there = getattr(run, name)
        there.extend(part) if isinstance(there, list) else there.update(part)
    return True
