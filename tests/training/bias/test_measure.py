"""States, intervals and sides of bias measures, and the limits that are compared with them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from claimtrace.errors import ConfigError
from featurestore.definitions import Facet
from tests.worlds.bias_tables import A_SIDE, D_SIDE, table_of
from training.bias.comparison import Bias, bias_tables
from training.bias.counts import MOST_GROUPS, Cells, count_table, groups_of, resampled, sides_of
from training.bias.limits import DEFAULT_LIMITS, bias_gate, is_violated, limits_of, range_of
from training.bias.measure import Measure, Sample, measure_facet, measures
from training.bias.metrics import AFTER, BEFORE, METRICS

FEATURES = ["female", "male", "age", "state_a", "state_b"]


def states(*sides: tuple[int, int, int, int]) -> dict[str, Measure]:
    found = measures((*BEFORE, *AFTER), table_of(*sides), seed=1)
    return {each.metric: each for each in found}


def many(*counts: int) -> tuple[int, int, int, int]:
    return tuple(20 * each for each in counts)


def test_a_group_without_referred_claims_is_not_evaluable():
    """The published check of the AWS example: nobody is referred, and every figure looks fair."""
    found = states((2707, 0, 89, 0), (1187, 0, 17, 0))
    assert (found["DPPL"].value, found["DI"].value, found["RD"].value) == (0, 1, 0)
    for code in ("DPPL", "DI", "RR", "HRR", "RD", "AD", "DRR", "TE", "SD"):
        assert found[code].state == "not evaluable", code
    assert found["DI"].words == "the group: no referred claims"
    assert {found[code].state for code in ("CI", "DPL", "KL", "GE")} == {"evaluated"}


def test_small_groups_are_not_enough_evidence():
    found = states(many(*A_SIDE), (30, 3, 15, 12))
    assert found["DPPL"].state == "not enough evidence"
    assert found["DPPL"].words == "the group: 60 claims, 100 are needed"
    found = states(many(*A_SIDE), (300, 3, 15, 12))
    assert found["DPPL"].state == found["RD"].state == "evaluated"
    assert found["HRR"].state == "not enough evidence"
    assert found["HRR"].words == (
        "the group: 3 legitimate claims that were referred, 10 are needed"
    )
    assert states((300, 20, 9, 0), many(*D_SIDE))["DPL"].words.startswith("the others: 9 frauds")


def test_every_metric_is_evaluated_where_there_is_enough():
    found = states(many(*A_SIDE), many(*D_SIDE))
    subgrouped = {"CDDL", "CDDPL"}
    assert {code for code, each in found.items() if each.state != "evaluated"} == subgrouped
    for code, each in found.items():
        if code not in subgrouped:
            assert each.low is not None
            assert each.high is not None
            assert each.low <= each.high
            assert METRICS[code].kind == "distance" or each.low <= each.value <= each.high


def test_intervals_are_the_same_for_a_seed_and_hold_the_truth():
    """Of 200 samples from known rates, the interval of DPPL holds the true one in 88 to 99 %."""
    table = table_of(many(*A_SIDE), many(*D_SIDE))
    assert measures(AFTER, table, 1) == measures(AFTER, table, 1)
    assert measures(AFTER, table, 1) != measures(AFTER, table, 2)
    truth, held = float(METRICS["DPPL"].of(Cells(table))), 0
    for seed, drawn in enumerate(resampled(table, 200, seed=9)):
        (one,) = measures((METRICS["DPPL"],), drawn, seed, draws=200)
        held += one.low <= truth <= one.high
    assert 176 <= held <= 198


def test_a_resampled_table_keeps_the_total():
    table = table_of(A_SIDE, D_SIDE)
    drawn = resampled(table, 50, seed=1)
    assert set(drawn.sum(axis=(1, 2, 3, 4)).tolist()) == {150}
    assert not drawn[:, table == 0].any()
    assert not resampled(np.zeros((2, 1, 3, 2), np.int64), 5, seed=1).any()


# -- sides and subgroups ---------------------------------------------------------------------------


def test_sides_of_a_mark_a_range_and_what_is_unknown():
    nan = math.nan
    matrix = np.array([
        [1, 0, 20, 1, 0], [0, 1, 26, 0, 1], [0, 0, 70, 1, 0], [nan, nan, nan, nan, nan],
    ])  # fmt: skip
    women = Facet("women", feature="female", against="male")
    assert sides_of(women, matrix, FEATURES).tolist() == [1, 0, -1, -1]
    assert sides_of(Facet("f", feature="female"), matrix, FEATURES).tolist() == [1, 0, 0, -1]
    young = Facet("young", feature="age", below=26)
    assert sides_of(young, matrix, FEATURES).tolist() == [1, 0, 0, -1]
    middle = Facet("middle", feature="age", least=26, below=70)
    assert sides_of(middle, matrix, FEATURES).tolist() == [0, 1, 0, -1]
    assert sides_of(Facet("old", feature="age", least=70), matrix, FEATURES)[2] == 1


def test_subgroups_are_the_combinations_of_values():
    matrix = np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 1, np.nan]])
    facet = Facet("f", feature="female", given=("state_a", "state_b"))
    groups = groups_of(facet, matrix, FEATURES)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3
    assert groups_of(Facet("f", feature="female"), matrix, FEATURES) is None
    many_values = np.zeros((MOST_GROUPS + 1, 5))
    many_values[:, 3] = np.arange(MOST_GROUPS + 1)
    assert groups_of(facet, many_values, FEATURES) is None


def test_claims_without_a_verdict_count_for_outcomes_only():
    sides = np.array([0, 0, 1, 1, -1])
    labels = np.array([0, np.nan, 1, np.nan, 1])
    table = count_table(sides, None, labels, np.array([False, True, True, False, True]))
    cells = Cells(table)
    assert (cells.claims.tolist(), cells.judged.tolist()) == ([2, 2], [1, 1])
    assert (cells.referred.tolist(), cells.judged_referred.tolist()) == ([1, 1], [0, 1])


def measured(referral: tuple[float, float], claims: int = 4000):
    """A facet whose sides are referred with these probabilities, whatever the truth."""
    rng = np.random.default_rng(2)
    matrix = np.zeros((claims, 5))
    matrix[:, 0] = rng.integers(0, 2, claims)
    matrix[:, 1] = 1 - matrix[:, 0]
    matrix[:, 3] = rng.integers(0, 2, claims)
    labels = (rng.random(claims) < 0.1) * 1.0
    referred = rng.random(claims) < np.where(matrix[:, 0] == 1, referral[1], referral[0])
    sample = Sample(np.arange(claims), labels, referred)
    facet = Facet("women", feature="female", against="male", given=("state_a", "state_b"))
    return measure_facet(facet, FEATURES, matrix, sample, sample, seed=1)


def test_a_facet_has_all_metrics_and_the_counts_of_its_sides():
    found = measured((0.1, 0.2))
    assert [each.metric for each in found.before] == [each.code for each in BEFORE]
    assert {each.metric for each in found.after} == {*(each.code for each in AFTER), "FT"}
    assert {each.state for each in (*found.before, *found.after)} == {"evaluated"}
    group, others = found.group, found.others
    assert group.learned + others.learned == 4000
    assert found.subgroups == 2
    passed = group.legit_passed + group.fraud_passed
    referred = group.legit_referred + group.fraud_referred
    assert passed + referred == group.learned
    others_referred = others.legit_referred + others.fraud_referred
    ratio = referred / group.learned / (others_referred / others.learned)
    assert found.measure("RR").value == pytest.approx(ratio)
    assert found.measure("RR").low > 1


# -- limits ----------------------------------------------------------------------------------------


def test_a_limit_is_violated_only_by_the_whole_interval():
    inside = Measure("DI", "evaluated", 0.7, 0.6, 0.85)
    assert not is_violated(inside, 0.8)
    beyond = Measure("DI", "evaluated", 0.7, 0.6, 0.79)
    assert is_violated(beyond, 0.8)
    assert is_violated(Measure("DI", "evaluated", 1.5, 1.26, 1.7), 0.8)
    assert not is_violated(Measure("DI", "not enough evidence", 0.7, 0.6, 0.79), 0.8)
    assert is_violated(Measure("RD", "evaluated", -0.2, -0.3, -0.06), 0.05)
    assert not is_violated(Measure("RD", "evaluated", -0.2, -0.3, -0.05), 0.05)
    assert range_of("HRR", 0) == (0, math.inf)


def test_the_gate_passes_fails_or_cannot_say():
    fair, unfair = measured((0.1, 0.1)), measured((0.1, 0.4))
    assert bias_gate([fair], DEFAULT_LIMITS).state == "passed"
    failed = bias_gate([fair, unfair], DEFAULT_LIMITS)
    assert failed.state == "failed"
    assert "women: HRR" in failed.words
    assert "is beyond 0.5 .. 2" in failed.words
    assert failed.evidence == "bias: women, women"
    assert bias_gate([], DEFAULT_LIMITS).state == "not evaluable"
    nobody = measured((0.0, 0.0))
    gate = bias_gate([nobody], DEFAULT_LIMITS)
    assert (gate.state, gate.words) == (
        "not evaluable", "none of the limited metrics could be evaluated",
    )  # fmt: skip
    partly = bias_gate([fair, nobody], DEFAULT_LIMITS)
    assert partly.state == "passed"
    assert "not evaluated: women DI" in partly.words


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"DPP": 0.1}, "did you mean DPPL"),
        ({"CI": 0.1}, "no bias metric of outcomes CI"),
        ({"DI": 1.25}, "a ratio's limit is within 0 .. 1"),
        ({"RD": -0.1}, "a limit is 0 or more"),
        ({"RD": math.nan}, "a limit is 0 or more"),
    ],
)
def test_a_wrong_limit_is_refused(own, words):
    with pytest.raises(ConfigError, match=words):
        limits_of(own)


def test_own_limits_stand_beside_the_defaults():
    assert limits_of({"di": 0.9, "FT": 0.2}) == {**DEFAULT_LIMITS, "DI": 0.9, "FT": 0.2}


def test_tables_are_short_and_say_what_is_beyond():
    facets = [measured((0.1, 0.4))]
    bias = Bias(threshold=0.5, limits=dict(DEFAULT_LIMITS), facets=facets,
                gate=bias_gate(facets, DEFAULT_LIMITS))  # fmt: skip
    (_, header, counts), (_, _, rows) = bias_tables(bias)
    assert len(counts[0]) == len(header)
    assert [row[0] for row in rows] == [
        f"women {code}" for code in ("DPPL", "DI", "RR", "RD", "HRR", "AD")
    ]
    assert {row[3] for row in rows} == {"", "beyond the limit"}
    assert all(sum(map(len, row)) <= 70 for row in rows)
    assert bias_tables(None) == []
