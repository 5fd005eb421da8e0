"""The verdict on a claim: one of its outcomes, the same in features, rules, drift and training.

Of all outcomes that had arrived, the one decided last counts; of those decided at the same time,
the one later on the log. A retraction competes like any outcome: while it is the last one, the
claim has no verdict, and none of the outcomes before it comes back.

This is so since edition 2 (`claimtrace.editions`). Edition 1 counted every outcome as it arrived.
"""

from __future__ import annotations

from typing import Final

UNKNOWN, LEGIT, FRAUD, RETRACTED = 0, 1, 2, 3
"""Codes of outcomes; UNKNOWN: none has arrived, or one that is no verdict."""

RETRACTION: Final = "retracted"
"""The outcome, as on the log, that takes back the one before it."""

NEVER_MS: Final = -(2**63)
"""The time at which an outcome was decided that none can be earlier than."""

LATEST_FIRST: Final = (
    "decided_at_ms DESC, known_time_ms DESC, topic DESC, partition DESC, position DESC"
)
"""The rule as an order of the rows of the offline store's labels, in SQL."""


def replaces(decided_ms: int, before_ms: int) -> bool:
    """Whether an outcome that arrives now replaces the one so far.

    Args:
        decided_ms: when the new one was decided.
        before_ms: when the one so far was decided; `NEVER_MS`: there is none.

    >>> replaces(5, 5), replaces(4, 5), replaces(4, NEVER_MS)
    (True, False, True)
    """
    return decided_ms >= before_ms


def verdict_of(outcome: int) -> int:
    """Return what an outcome leaves as the verdict on its claim.

    >>> verdict_of(FRAUD) == FRAUD, verdict_of(RETRACTED) == UNKNOWN
    (True, True)
    """
    return UNKNOWN if outcome == RETRACTED else outcome
