"""The limits of a canary, one by one: just kept, and breached."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from monitoring.guards.limits import ERRORS, REFERRALS, SCORES, UNSEEN, Limits, Side, breaches
from monitoring.windows.reference import build_reference
from monitoring.windows.tile import Tile

LIMITS = Limits(100, 1.5, 0.001, 0.05, 0.25)
SCORED = np.linspace(0.0, 1.0, 2000)
REFERENCE = msgspec.structs.replace(
    build_reference(["x"], np.zeros((2000, 1)), SCORED, SCORED > 0.9), features=[]
)


def a_side(n: int = 1000, **fields: Any) -> Side:
    counts = [n * count // sum(REFERENCE.score.counts) for count in REFERENCE.score.counts]
    plain: dict[str, Any] = {"n": n, "referred": n // 10, "score_counts": counts}
    tile = Tile(
        model="claims/2", window_from_ms=0, window_to_ms=900_000, counts=[], missing=[],
        **{**plain, **fields},
    )  # fmt: skip
    return Side(tile, REFERENCE)


def test_equal_models_breach_nothing() -> None:
    assert breaches(a_side(), a_side(), LIMITS) == {}


@pytest.mark.parametrize(("referred", "breached"), [(140, False), (150, False), (160, True),
                                                    (50, True), (70, False)])  # fmt: skip
def test_referrals_in_both_directions(referred: int, breached: bool) -> None:
    found = breaches(a_side(), a_side(referred=referred), LIMITS)
    assert (REFERRALS in found) == breached
    assert len(found) == breached


def test_few_referrals_are_no_evidence() -> None:
    assert breaches(a_side(100, referred=2), a_side(100, referred=8), LIMITS) == {}
    assert REFERRALS in breaches(a_side(referred=0), a_side(referred=30), LIMITS)


@pytest.mark.parametrize(("errors", "breached"), [(1, False), (2, True)])
def test_errors_that_the_champion_does_not_have(errors: int, breached: bool) -> None:
    assert bool(breaches(a_side(), a_side(unscored=errors), LIMITS)) == breached
    assert breaches(a_side(unscored=errors), a_side(unscored=errors), LIMITS) == {}
    found = breaches(a_side(), a_side(unscored=7), LIMITS)
    assert found == {ERRORS: "no valid score for 7 of 1,000 claims, the champion's 0"}


def test_scores_that_moved_for_both_are_the_claims_doing() -> None:
    moved = [0] * len(REFERENCE.score.counts)
    moved[-1] = 1000
    assert set(breaches(a_side(), a_side(score_counts=moved), LIMITS)) == {SCORES}
    assert breaches(a_side(score_counts=moved), a_side(score_counts=moved), LIMITS) == {}


def test_categories_unseen_in_the_canarys_training_alone() -> None:
    knew = a_side(unseen=200)
    knew = knew._replace(reference=msgspec.structs.replace(REFERENCE, unseen=400))
    assert set(breaches(knew, a_side(unseen=200), LIMITS)) == {UNSEEN}
    assert breaches(a_side(unseen=200), a_side(unseen=200), LIMITS) == {}
    assert breaches(a_side(unseen=200), knew, LIMITS) == {}


def test_a_tile_of_few_claims_is_not_judged() -> None:
    assert breaches(a_side(99), a_side(99, unscored=99), LIMITS) == {}
    assert breaches(a_side(100), a_side(100, unscored=99), LIMITS) != {}
