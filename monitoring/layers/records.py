"""What the drift watch writes: the record of one window (`claims.drift`) and the alert.

Both are encoded as JSON by the caller; topics stand in `claimtrace.decisions`. Every number has at
most 6 significant digits.
"""

from __future__ import annotations

from typing import Final

import msgspec

OK: Final = "ok"
DRIFT: Final = "drift"
TOO_FEW: Final = "too few"
ABSENT: Final = "absent"
"""States of a layer: `absent` when the window has nothing of it, `too few` rows to judge."""

INPUTS: Final = "inputs"
SCORE: Final = "score"
OUTCOME: Final = "outcome"
"""Layers: what comes in, what the model makes of it, what investigators found."""

RAISED: Final = "raised"
CLEARED: Final = "cleared"
"""States of an alert."""


class RateDrift(msgspec.Struct, frozen=True):
    """A rate of the window beside the reference's."""

    ratio: float
    reference_ratio: float
    z: float
    p: float
    drifted: bool


class Distance(msgspec.Struct, frozen=True):
    """How far a histogram is from the reference's, in three measures and a direction.

    `psi_expected` is what chance alone gives at this size, `psi_floor` what it must exceed that by.
    `higher_ratio` is the share of pairs in which the live value is the higher (.5: neither).
    Between `bin_above` (None: no bound) and `bin_to` lies the bin whose share changed most, from
    `bin_reference_ratio` to `bin_ratio`.
    """

    psi: float
    psi_expected: float
    psi_floor: float
    z: float
    p: float
    ks: float
    linf: float
    higher_ratio: float
    bin_above: float | None
    bin_to: float | None
    bin_ratio: float
    bin_reference_ratio: float
    drifted: bool


class FeatureDrift(msgspec.Struct, frozen=True):
    """One feature's verdict. `strength` is its size in multiples of the floor, to rank by.

    `outside` are values below the least or above the greatest of training.
    """

    feature: str
    drifted: bool
    strength: float
    values: Distance
    missing: RateDrift
    outside: RateDrift


class Inputs(msgspec.Struct, frozen=True):
    """The layer of what comes in: features ranked, drifted first and strongest first."""

    state: str
    drifted: int
    features: list[FeatureDrift]
    unseen: RateDrift | None


class Score(msgspec.Struct, frozen=True):
    """The layer of what the model makes of it."""

    state: str
    values: Distance | None
    referral: RateDrift | None


class Outcome(msgspec.Struct, frozen=True):
    """The layer of what investigators found: the fraud rate of the labels decided in the window."""

    state: str
    labels: int
    fraud: RateDrift | None


class DriftRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one window under one model; `state` is the worst of its layers."""

    schema_version: int = 1
    model: str
    window_from_ms: int
    window_to_ms: int
    n: int
    reference_n: int
    late: int
    state: str
    inputs: Inputs
    score: Score
    outcome: Outcome


class DriftAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Drift that lasts, or that is over, for people: once when raised, once when cleared.

    `subjects` are what drifted in this layer (feature names, or `unseen categories`, `score`,
    `referral rate`, `fraud rate`), strongest first; `effects` says the same of the top few in
    words. `since_ms` is the start of the first drifted window, `at_ms` the end of the window that
    settled it. The id depends on these alone, so a repeated alert is recognised.
    """

    schema_version: int = 1
    alert_id: str
    model: str
    layer: str
    state: str
    since_ms: int
    at_ms: int
    subjects: list[str]
    text: str
    effects: list[str]
    hint: str
