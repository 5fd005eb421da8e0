"""Chunks: consecutive records of all topics, as the simulator yields them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Part:
    """Records of one partition in order, as columns of one length."""

    topic: str
    partition: int
    keys: list[bytes]
    values: list[bytes]
    log_times_ms: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The ground truth about the claims of a chunk, as columns; never written to the log."""

    claim_id: list[str]
    is_fraud: list[bool]
    scenario: list[str]
    ring: list[str | None]


@dataclass(frozen=True)
class Chunk:
    """Consecutive records of all topics, and the truth about the claims first filed in them.

    `records_count` is the number of records of all parts.
    """

    parts: list[Part]
    truth: Truth
    records_count: int
    until_ms: int
    """Every record that arrives before this is in this chunk or an earlier one."""
