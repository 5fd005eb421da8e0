"""The values that all decisions of a batch share."""

from __future__ import annotations

from typing import NamedTuple

from claimtrace.decisions import ModelRef


class Frame(NamedTuple):
    """The values that all decisions of a batch share."""

    policy: str
    threshold: float | None
    model: ModelRef | None
    definitions: str
    rules: str
