"""The drift test: a window compared with the model's reference, as a record for `claims.drift`.

Three layers are kept apart, because different people act on them: `inputs` (values, missing values
and unseen categories of the features), `score` (the distribution of scores and the referral rate)
and `outcome` (the findings of investigators). Drift of the inputs without drift of the score is
usually information, not a problem.

**The decision.** A difference counts as drift if it passes two tests:

1. *Significance.* The p-values of each layer go through the procedure of Benjamini and Hochberg. A
   fixed limit on z doesn't suit 70 features: at z > 3 one window in ten would raise a false alarm
   on some feature, and the rate would depend on the number of features. With a false-discovery
   ratio of 1 %, at most one window in a hundred without drift shows any, for any number of
   features.
2. *Size.* The difference must exceed a floor, or else every large window would drift. PSI beyond
   chance must exceed `psi_floor` (log-normal amounts with sigma 1.4: a ring that quintuples 5 % of
   them gives .004, 10 % inflation .004, 25 % .023, 5 % .0008); rates must exceed `rate_floor` or
   `relative_floor`. PSI and the referral rate must also exceed the differences among windows of the
   training time (`Reference.window_noise`), where these are known for the same width of window.

Every number is rounded to 6 significant digits before it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from claimtrace.errors import ModelError

from ..statistics.distances import (
    Psi,
    RateDifference,
    benjamini_hochberg,
    higher_ratio,
    ks,
    linf,
    missing_rate_difference,
    psi,
    rate_difference,
    significant,
)
from ..windows.reference import FeatureReference, Reference
from ..windows.tile import Tile
from .records import (
    ABSENT,
    DRIFT,
    OK,
    TOO_FEW,
    Distance,
    DriftRecord,
    FeatureDrift,
    Inputs,
    Outcome,
    RateDrift,
    Score,
)


class DriftPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The limits beyond which a difference counts as drift.

    Attributes:
        min_count: claims that a window needs to be judged (settings: `drift.min_count`).
        min_labels: outcomes that a window needs for its `outcome` layer to be judged.
        false_discovery_ratio: limit for the procedure of Benjamini and Hochberg.
        psi_floor: least PSI beyond chance.
        rate_floor: least difference of ratios (.01 is one percentage point) for missing, unseen
            and out-of-range values.
        relative_floor: least difference of the referral and fraud rates, relative to the
            reference's rate (.25 is a quarter).
        moving: features whose values follow the calendar by nature; only their missing values are
            judged.
    """

    min_count: int = 200
    min_labels: int = 100
    false_discovery_ratio: float = 0.01
    psi_floor: float = 0.002
    rate_floor: float = 0.01
    relative_floor: float = 0.25
    moving: frozenset[str] = frozenset()


def judge(tile: Tile, reference: Reference, policy: DriftPolicy = DriftPolicy()) -> DriftRecord:  # noqa: B008 - frozen
    """Compare a closed window with the model's reference; the same tile gives the same record.

    Raises:
        ModelError: the tile was counted on the bins of another reference.

    >>> import numpy as np
    >>> from monitoring.windows.reference import build_reference
    >>> from monitoring.windows.tile_book import TileBook
    >>> scores = np.linspace(0, 0.2, 1000)
    >>> reference = build_reference(["x"], np.arange(1000.0)[:, None], scores, scores > 0.19)
    >>> book = TileBook(reference, "demo/1", window_ms=60_000, lateness_ms=0)
    >>> book.add(np.zeros(500, int), np.arange(500.0)[:, None], scores[::2], scores[::2] > 0.19,
    ...          np.zeros(500, int))
    >>> record = judge(book.flush()[0], reference)
    >>> record.state, round(record.inputs.features[0].values.higher_ratio, 2), record.score.state
    ('drift', 0.25, 'ok')
    """
    _check_bins(tile, reference)
    inputs = _judge_inputs(tile, reference, policy)
    score = _judge_score(tile, reference, policy)
    outcome = _judge_outcome(tile, reference, policy)
    states = (inputs.state, score.state, outcome.state)
    return DriftRecord(
        model=tile.model,
        window_from_ms=tile.window_from_ms,
        window_to_ms=tile.window_to_ms,
        n=tile.n,
        reference_n=reference.n,
        late=tile.late,
        state=next((state for state in (DRIFT, OK, TOO_FEW) if state in states), ABSENT),
        inputs=inputs,
        score=score,
        outcome=outcome,
    )


class _Test(NamedTuple):
    """One difference: its p-value, and its size in multiples of the floor."""

    p: float
    strength: float


_NO_TEST = _Test(1.0, 0.0)


def _judge_inputs(tile: Tile, reference: Reference, policy: DriftPolicy) -> Inputs:
    if not tile.n:
        return Inputs(ABSENT, 0, [], None)
    # Three tests a feature (values, missing, outside) and one on unseen categories: all of them
    # enter the correction for many tests together.
    measured = []
    tests: list[_Test] = []
    for f, feature in enumerate(reference.features):
        values = psi(feature.counts, tile.counts[f])
        missing = missing_rate_difference(feature.missing, reference.n, tile.missing[f], tile.n)
        outside = rate_difference(
            _outside(feature, feature.counts),
            reference.n,
            _outside(feature, tile.counts[f]),
            tile.n,
        )
        floor = _floor(reference, tile, policy, f)
        measured.append((values, missing, outside, floor))
        moves = feature.name in policy.moving
        tests += [
            _NO_TEST if moves else _Test(values.p, (values.value - values.expected) / floor),
            _Test(missing.p, abs(missing.difference) / policy.rate_floor),
            _NO_TEST if moves else _Test(outside.p, outside.difference / policy.rate_floor),
        ]
    unseen = rate_difference(reference.unseen, reference.n, tile.unseen, tile.n)
    tests.append(_Test(unseen.p, unseen.difference / policy.rate_floor))
    found = _found(tests, policy, tile.n >= policy.min_count)
    features = []
    for f, (values, missing, outside, floor) in enumerate(measured):
        hit, strength = found[3 * f : 3 * f + 3], [t.strength for t in tests[3 * f : 3 * f + 3]]
        feature, counts = reference.features[f], tile.counts[f]
        features.append(
            FeatureDrift(
                feature=feature.name,
                drifted=any(hit),
                strength=significant(max(0.0, *strength)),
                values=_distance(feature, counts, values, floor, hit[0]),
                missing=_rate(missing, hit[1]),
                outside=_rate(outside, hit[2]),
            )
        )
    # The sort is stable: features of equal strength stay in definition order.
    features.sort(key=lambda feature: (not feature.drifted, -feature.strength))
    state = _state(found, tile.n, policy.min_count)
    drifted = sum(feature.drifted for feature in features)
    return Inputs(state, drifted, features, _rate(unseen, found[-1]))


def _judge_score(tile: Tile, reference: Reference, policy: DriftPolicy) -> Score:
    if not tile.n:
        return Score(ABSENT, None, None)
    values = psi(reference.score.counts, tile.score_counts)
    floor = _floor(reference, tile, policy, None)
    referral = rate_difference(reference.referred, reference.scored, tile.referred, tile.n)
    rate_floor = policy.relative_floor * referral.reference_ratio
    noise = reference.window_noise
    if noise is not None and noise.window_ms == tile.window_to_ms - tile.window_from_ms:
        rate_floor = max(rate_floor, noise.referral_ratio)
    tests = [
        _Test(values.p, (values.value - values.expected) / floor),
        _Test(referral.p, _multiple(abs(referral.difference), rate_floor)),
    ]
    found = _found(tests, policy, tile.n >= policy.min_count)
    return Score(
        _state(found, tile.n, policy.min_count),
        _distance(reference.score, tile.score_counts, values, floor, found[0]),
        _rate(referral, found[1]),
    )


def _judge_outcome(tile: Tile, reference: Reference, policy: DriftPolicy) -> Outcome:
    if not tile.labels or not reference.labels:
        return Outcome(ABSENT, tile.labels, None)
    fraud = rate_difference(reference.frauds, reference.labels, tile.frauds, tile.labels)
    rate_floor = policy.relative_floor * fraud.reference_ratio
    tests = [_Test(fraud.p, _multiple(abs(fraud.difference), rate_floor))]
    found = _found(tests, policy, tile.labels >= policy.min_labels)
    state = _state(found, tile.labels, policy.min_labels)
    return Outcome(state, tile.labels, _rate(fraud, found[0]))


def _found(tests: Sequence[_Test], policy: DriftPolicy, enough: bool) -> list[bool]:
    """Return for each test whether it found drift: enough rows, significant, above the floor."""
    significances = benjamini_hochberg([test.p for test in tests], policy.false_discovery_ratio)
    return [
        enough and is_significant and test.strength >= 1
        for is_significant, test in zip(significances, tests, strict=True)
    ]


def _state(found: Sequence[bool], count: int, needed: int) -> str:
    if count < needed:
        return TOO_FEW
    return DRIFT if any(found) else OK


def _floor(reference: Reference, tile: Tile, policy: DriftPolicy, f: int | None) -> float:
    """Return the floor of PSI beyond chance for feature f (None: the score).

    The greater of the policy's floor and the noise among windows of the training time.
    """
    noise = reference.window_noise
    if noise is None or noise.window_ms != tile.window_to_ms - tile.window_from_ms:
        return policy.psi_floor
    return max(policy.psi_floor, noise.score if f is None else noise.features[f])


def _multiple(size: float, floor: float) -> float:
    """Return size / floor; with a floor of 0 any difference passes."""
    return size / floor if floor else float(size > 0)


def _outside(feature: FeatureReference, counts: Sequence[int]) -> int:
    """Count the rows in the two outer bins."""
    # A feature that was always missing in training has one bin and no range.
    return counts[0] + counts[-1] if feature.edges else 0


def _rate(rate: RateDifference, drifted: bool) -> RateDrift:
    return RateDrift(
        ratio=significant(rate.ratio),
        reference_ratio=significant(rate.reference_ratio),
        z=significant(rate.z),
        p=significant(rate.p),
        drifted=drifted,
    )


def _distance(
    feature: FeatureReference, counts: Sequence[int], values: Psi, floor: float, drifted: bool
) -> Distance:
    ref_n, n = max(1, sum(feature.counts)), max(1, sum(counts))
    changes = [abs(c / n - r / ref_n) for r, c in zip(feature.counts, counts, strict=True)]
    most = changes.index(max(changes))  # the bin whose share changed most
    return Distance(
        psi=significant(values.value),
        psi_expected=significant(values.expected),
        psi_floor=significant(floor),
        z=significant(values.z),
        p=significant(values.p),
        ks=significant(ks(feature.counts, counts)),
        linf=significant(linf(feature.counts, counts)),
        higher_ratio=significant(higher_ratio(feature.counts, counts)),
        bin_above=feature.edges[most - 1] if most else None,
        bin_to=feature.edges[most] if most < len(feature.edges) else None,
        bin_ratio=significant(counts[most] / n),
        bin_reference_ratio=significant(feature.counts[most] / ref_n),
        drifted=drifted,
    )


def _check_bins(tile: Tile, reference: Reference) -> None:
    known = [len(feature.counts) for feature in reference.features]
    if [len(row) for row in tile.counts] != known or len(tile.score_counts) != len(
        reference.score.counts
    ):
        raise ModelError(
            "the tile was counted on the bins of another reference",
            where=tile.model,
            hint="judge a tile with the reference of the model that it names",
        )
