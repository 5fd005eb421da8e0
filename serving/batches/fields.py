"""The fields of the output: those of the answer that were chosen, beside those of the input."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from claimtrace.decisions import Decision
from claimtrace.errors import UsageError

from .answer import NOTHING, Answer

_FLOATS: Final = ("score", "margin", "threshold", "base_margin", "rest_margin")
_INTEGERS: Final = ("schema_version", "partition", "position", "event_time_ms", "log_time_ms",
                    "known_time_ms")  # fmt: skip
_TEXTS: Final = ("status", "reason", "field", "hint", "decision_id", "claim_id", "policy", "topic",
                 "band", "outcome", "feature_hash", "definitions", "rules_digest", "arm",
                 "chain")  # fmt: skip
_OF_ANSWER: Final = ("status", "reason", "field", "hint")
FIRST: Final = "advisory"
"""The field that each answer begins with: true unless the decision is one on the log."""

KNOWN: Final = frozenset({*_OF_ANSWER, *Decision.__struct_fields__, "chain", "as_of"})
"""The names that can be chosen."""
USUAL: Final = ("status", "outcome", "score", "band", "rules", "reasons", "flags", "model", "as_of",
                "reason", "field", "hint")  # fmt: skip
"""The fields of the output where none are chosen."""
PREFIX: Final = "decision."
"""Before the names of an answer's fields in a table, so that they aren't those of the input."""

Kind = Literal["boolean", "float", "integer", "text", "json"]


def kind_of(name: str) -> Kind:
    """Return the type of a field; `json` for lists and objects, which a table has as text."""
    if name == FIRST:
        return "boolean"
    if name in _FLOATS:
        return "float"
    if name in _INTEGERS:
        return "integer"
    return "text" if name in _TEXTS else "json"


def chosen(names: Sequence[str], where: str = "--fields") -> tuple[str, ...]:
    """Return the fields of the output, each once, in their order; none: the usual ones.

    Raises:
        UsageError: a name isn't a field of an answer.

    >>> chosen(["score", "outcome", "score"])
    ('score', 'outcome')
    """
    for name in names:
        if name not in KNOWN:
            near = difflib.get_close_matches(name, sorted(KNOWN), 1)
            hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(sorted(KNOWN))}"
            raise UsageError(f"{name!r} is no field of an answer", where=where, hint=hint)
    return tuple(dict.fromkeys(names)) or USUAL


def values_of(answer: Answer, fields: Sequence[str]) -> dict[str, Any]:
    """Return the chosen fields of an answer, `advisory` first; None where it has none.

    Lists and objects are `msgspec.Raw`: their JSON as it is.
    """
    raw: Mapping[str, msgspec.Raw] = {}
    if answer.decision is not NOTHING:
        raw = msgspec.json.decode(answer.decision, type=dict[str, msgspec.Raw])
    found: dict[str, Any] = {FIRST: FIRST in raw}
    own = {"status": answer.status, "reason": answer.reason or None, "field": answer.field or None,
           "hint": answer.hint or None}  # fmt: skip
    for name in fields:
        if name in own:
            found[name] = own[name]
        elif name not in raw:
            found[name] = None
        elif kind_of(name) == "json":
            found[name] = None if bytes(raw[name]) == b"null" else raw[name]
        else:
            found[name] = msgspec.json.decode(raw[name])
    return found
