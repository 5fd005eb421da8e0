"""The question of a door without a state: would claims be refused, or are they known?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from claimtrace.limits import MAX_VALUE_BYTES
from claimtrace.refusals import Refusal
from stream.engine.looked import Looked

MOST_CLAIMS: Final = 256
MOST_BYTES: Final = 600_000
"""Claims, and bytes of them, in one question: a body of at most 1 MiB, in base64."""


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The words of the gate on a claim; empty for one that is new."""

    is_known: bool = False
    reason: str = ""
    field: str = ""
    detail: str = ""


class Question(msgspec.Struct, frozen=True):
    """Claims as they would go onto the log, in base64."""

    claims: list[bytes]


class Verdicts(msgspec.Struct, frozen=True):
    """A verdict for each claim of a question."""

    verdicts: list[Verdict]


def taken(waiting: Sequence[int]) -> int:
    """Return how many of the claims that wait fit into one question; at least one.

    Args:
        waiting: the bytes of each, in order.

    >>> taken([10, 20]), taken([400_000, 250_000, 1]), taken([1] * 300), taken([700_000])
    (2, 1, 256, 1)
    """
    total = 0
    for count, size in enumerate(waiting[:MOST_CLAIMS]):
        total += size
        if count and total > MOST_BYTES:
            return count
    return min(len(waiting), MOST_CLAIMS)


def read_question(body: bytes) -> list[bytes] | None:
    """Read the claims of a question; None for a body that isn't one.

    >>> read_question(msgspec.json.encode(Question([b"{}"]))), read_question(b"[]")
    ([b'{}'], None)
    """
    try:
        claims = msgspec.json.decode(body, type=Question).claims
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    too_large = any(len(each) > MAX_VALUE_BYTES for each in claims)
    return None if too_large or len(claims) > MOST_CLAIMS else claims


def verdict_of(looked: Looked) -> Verdict:
    """Return what the gate said, for the wire.

    >>> verdict_of(Looked(refusal=Refusal("bad_value", "phone")))
    Verdict(is_known=False, reason='bad_value', field='phone', detail='')
    """
    refusal = looked.refusal
    if refusal is None:
        return Verdict(looked.is_known)
    return Verdict(False, refusal.reason, refusal.field, refusal.detail)


def read_verdicts(body: bytes, claims: int) -> Sequence[Looked] | None:
    """Read the answer to a question about so many claims; None for a body that isn't one.

    >>> read_verdicts(b'{"verdicts":[{"is_known":true}]}', 1)[0].is_known
    True
    """
    try:
        verdicts = msgspec.json.decode(body, type=Verdicts).verdicts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(verdicts) != claims:
        return None
    return [
        Looked(refusal=Refusal(each.reason, each.field, each.detail))
        if each.reason
        else Looked(is_known=each.is_known)
        for each in verdicts
    ]
