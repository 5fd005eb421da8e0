"""The outputs of monitoring: the drift record of one window (`claims.drift`) and the drift alert.

Both are encoded as JSON by the caller; `claimtrace.decisions` names the topics. Every number has at
most 6 significant digits.
"""

from __future__ import annotations

from typing import Final

import msgspec

OK: Final = "ok"
DRIFT: Final = "drift"
TOO_FEW: Final = "too few"
ABSENT: Final = "absent"
"""States of a layer: `absent` if the window has no rows for it, `too few` if it can't be judged."""

INPUTS: Final = "inputs"
SCORE: Final = "score"
OUTCOME: Final = "outcome"
"""The layers: features, scores and referrals, findings of investigators."""

GUARD: Final = "guard"
"""The layer of alerts of a canary's guards, which have no drift record."""

RAISED: Final = "raised"
CLEARED: Final = "cleared"
"""The states of an alert."""


class RateDrift(msgspec.Struct, frozen=True):
    """A rate in the window, compared with the reference's."""

    ratio: float
    reference_ratio: float
    z: float
    p: float
    drifted: bool


class Distance(msgspec.Struct, frozen=True):
    """The distance of a histogram from the reference's: three measures and a direction.

    `psi_expected` is the PSI that chance alone gives at this number of rows; to count as drift,
    `psi` must exceed it by `psi_floor`. `higher_ratio` is the share of pairs (reference row, live
    row) in which the live value is higher (.5: no direction). The bin whose share changed most
    reaches from above `bin_above` to `bin_to` (None: no bound); its share changed from
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
    """The drift of one feature.

    `strength` is the size of the difference in multiples of the floor, for ranking. `outside` is
    the rate of values below the least or above the greatest value of training.
    """

    feature: str
    drifted: bool
    strength: float
    values: Distance
    missing: RateDrift
    outside: RateDrift


class Inputs(msgspec.Struct, frozen=True):
    """The layer of the features: drifted features first, then the strongest first."""

    state: str
    drifted: int
    features: list[FeatureDrift]
    unseen: RateDrift | None


class Score(msgspec.Struct, frozen=True):
    """The layer of the model's output: the distribution of scores, and the referral rate."""

    state: str
    values: Distance | None
    referral: RateDrift | None


class Outcome(msgspec.Struct, frozen=True):
    """The layer of investigators' findings: the fraud rate of the labels decided in the window."""

    state: str
    labels: int
    fraud: RateDrift | None


class DriftRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The drift record of one window under one model; `state` is the worst state of its layers."""

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
    """An alert for people that drift lasts, or is over: sent once when raised, once when cleared.

    `subjects` names what drifted in this layer (feature names, or `unseen categories`, `score`,
    `referral rate`, `fraud rate`), strongest first; `effects` describes the first few in words.
    `since_ms` is the start of the first drifted window, `at_ms` the end of the window that raised
    or cleared the alert. `alert_id` is a digest of model, layer, state, `at_ms` and `subjects`, so
    a repeated alert is recognised.
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
