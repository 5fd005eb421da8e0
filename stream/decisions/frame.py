"""The values that all decisions of a batch share."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from claimtrace.decisions import ModelRef


class Frame(NamedTuple):
    """The values that all decisions of a batch share.

    `threshold` is the least probability for referral, `review_threshold` that for review; both are
    None without a model. `review_threshold` is `UNSET` before edition 4, whose decisions lack it.
    """

    policy: str
    threshold: float | None
    model: ModelRef | None
    definitions: str
    rules: str
    review_threshold: float | UnsetType | None = UNSET
