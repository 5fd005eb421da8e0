"""This process as its supervisor and its monitoring see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """What `/ready` and `/metrics` answer.

    Attributes:
        why_not_ready: returns "" when the process answers as it should, else why it doesn't.
        metrics: returns the metrics as Prometheus' text.
    """

    why_not_ready: Callable[[], str]
    metrics: Callable[[], bytes]
