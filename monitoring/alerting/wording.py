"""The wording of drift alerts: texts for people, made from the numbers of a drift record."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from claimtrace.events import EPOCH

from ..layers.records import (
    INPUTS,
    OUTCOME,
    SCORE,
    Distance,
    DriftRecord,
    FeatureDrift,
    RateDrift,
)

UNSEEN: Final = "unseen categories"
SCORES: Final = "score"
REFERRALS: Final = "referral rate"
FRAUDS: Final = "fraud rate"
"""The subjects of alerts that aren't features."""

HINTS: Final = {
    INPUTS: (
        "ask the producers of these fields what changed; if the score layer is quiet, decisions "
        "still hold, and the next training takes it in"
    ),
    SCORE: (
        "look at the inputs that drifted in the same windows and at the newest referred claims; "
        "if the change is real, train again on matured labels and check the referral threshold"
    ),
    OUTCOME: (
        "compare with the model's expected precision once more labels matured; a lasting change "
        "of the fraud rate calls for a new training and new thresholds"
    ),
}
"""Recommended actions, by layer."""


def effects_of(record: DriftRecord) -> dict[str, dict[str, str]]:
    """Describe the drift of a window: layer -> subject -> effect in words, strongest first."""
    inputs = {f.feature: _feature_text(f) for f in record.inputs.features if f.drifted}
    unseen = record.inputs.unseen
    if unseen is not None and unseen.drifted:
        inputs[UNSEEN] = _rate_text(unseen, "of claims have a category that training never saw")
    score = {}
    if record.score.referral is not None and record.score.referral.drifted:
        score[REFERRALS] = _rate_text(record.score.referral, "of claims are referred")
    if record.score.values is not None and record.score.values.drifted:
        score[SCORES] = _distance_text(record.score.values)
    outcome = {}
    if record.outcome.fraud is not None and record.outcome.fraud.drifted:
        outcome[FRAUDS] = _rate_text(record.outcome.fraud, "of the decided claims are fraud")
    return {INPUTS: inputs, SCORE: score, OUTCOME: outcome}


def began_text(subjects: list[str], model: str, since_ms: int) -> str:
    """Say that drift began; the headline of a raised alert.

    >>> began_text(["hour"], "champion@v1", 0)
    'hour drifted under champion@v1 since 1970-01-01 00:00 UTC'
    """
    return f"{names_text(subjects)} drifted under {model} since {time_text(since_ms)}"


def over_text(subjects: list[str], model: str, at_ms: int) -> str:
    """Say that drift is over; the headline of a cleared alert.

    >>> over_text(["hour"], "champion@v1", 0)
    'hour: drift under champion@v1 is over at 1970-01-01 00:00 UTC'
    """
    return f"{names_text(subjects)}: drift under {model} is over at {time_text(at_ms)}"


def time_text(time_ms: int) -> str:
    """Format a time in ms for people, in UTC.

    >>> time_text(0)
    '1970-01-01 00:00 UTC'
    """
    return f"{EPOCH + timedelta(milliseconds=time_ms):%Y-%m-%d %H:%M} UTC"


def names_text(names: list[str], at_most: int = 3) -> str:
    """Join the first `at_most` names, and the number of further ones.

    >>> names_text(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def _feature_text(feature: FeatureDrift) -> str:
    texts = []
    if feature.values.drifted:
        texts.append(_distance_text(feature.values))
    if feature.missing.drifted:
        texts.append(_rate_text(feature.missing, "missing"))
    if feature.outside.drifted:
        texts.append(_rate_text(feature.outside, "outside the range of training"))
    return "; ".join(texts)


def _distance_text(values: Distance) -> str:
    if values.higher_ratio >= 0.52:
        direction = "higher"
    elif values.higher_ratio <= 0.48:
        direction = "lower"
    else:
        direction = "spread differently"
    if values.bin_above is None:
        span = "" if values.bin_to is None else f" at most {values.bin_to:.6g}"
    elif values.bin_to is None:
        span = f" above {values.bin_above:.6g}"
    else:
        span = f" above {values.bin_above:.6g} to {values.bin_to:.6g}"
    return (
        f"values {direction}: {values.bin_ratio:.1%}{span}, {values.bin_reference_ratio:.1%} in "
        f"training (PSI {values.psi:.3g}, by chance {values.psi_expected:.2g})"
    )


def _rate_text(rate: RateDrift, what: str) -> str:
    return f"{rate.ratio:.1%} {what}, {rate.reference_ratio:.1%} in training"
