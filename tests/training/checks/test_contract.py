"""The data contract: broken columns are found and named, and what only grows is left alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from claimtrace.errors import ConfigError
from claimtrace_examples.card_payments import DOMAIN
from tests.worlds.data_sets import dataset_of
from training.checks.constraints import (
    MOST_BYTES,
    Constraints,
    FeatureConstraints,
    NumConstraints,
    encoded,
    read_constraints,
)
from training.checks.contract import (
    Contract,
    contract_gate,
    contract_of,
    robust_distance,
)
from training.data.dataset import Dataset
from training.steps.checks import warming_up

NAMES = ["amount", "count", "flag"]


def sound(rows: int = 3000) -> Dataset:
    dataset = dataset_of(rows, seed=1, policies=900)
    rng = np.random.default_rng(2)
    amount = np.where(rng.random(rows) < 0.1, np.nan, np.exp(rng.normal(8, 1, rows)) + 0.5)
    columns = [amount, rng.poisson(3, rows), rng.random(rows) < 0.3]
    return dataclasses.replace(
        dataset, features=NAMES, matrix=np.column_stack(columns).astype(np.float64)
    )


def spoilt(change: Callable[[np.ndarray], None], newest: int = 700) -> Dataset:
    dataset = sound()
    matrix = dataset.matrix.copy()
    change(matrix[-newest:])
    return dataclasses.replace(dataset, matrix=matrix)


def found(dataset: Dataset, own: Constraints | None = None) -> Contract:
    return contract_of(dataset, None, None, (), own)[0]


def test_sound_data_keeps_its_contract() -> None:
    contract = found(sound())
    assert contract.violations == []
    assert contract_gate(contract).state == "passed"
    assert contract.checked == 750
    few = contract_of(sound(400), None, None)[0]
    assert contract_gate(few).state == "not evaluable"


def set_to(place: int, value: Callable[[np.ndarray], np.ndarray] | float) -> Callable:
    def change(rows: np.ndarray) -> None:
        rows[:, place] = value(rows[:, place]) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "feature", "check"),
    [
        (set_to(0, np.nan), "amount", "completeness_check"),
        (set_to(0, lambda column: column * 100), "amount", "baseline_drift_check"),
        (set_to(0, lambda column: -column), "amount", "range_check"),
        (set_to(1, lambda column: column + 0.5), "count", "data_type_check"),
        (set_to(1, 40.0), "count", "baseline_drift_check"),
    ],
)
def test_a_broken_column_is_found_and_its_claims_are_named(
    change: Callable, feature: str, check: str
) -> None:
    dataset = spoilt(change)
    contract = found(dataset)
    broken = [each for each in contract.violations if each.constraint_check_type == check]
    assert [each.feature_name for each in broken] == [feature]
    assert {each.feature_name for each in contract.violations} == {feature}
    assert broken[0].claims >= 400
    newest = set(dataset.claim_ids[-750:])
    assert set(broken[0].claim_ids) <= newest
    assert len(broken[0].claim_ids) == 5
    gate = contract_gate(contract)
    assert gate.state == "failed"
    assert feature in gate.words


def test_categories_that_are_not_listed_are_found() -> None:
    dataset = sound()
    unseen = np.zeros(3000, np.int64)
    unseen[-300:] = 1
    contract = found(dataclasses.replace(dataset, unseen=unseen))
    assert [each.constraint_check_type for each in contract.violations] == [
        "categorical_values_check"
    ]
    assert contract.violations[0].claims == 300


def test_a_feature_that_follows_the_calendar_may_move() -> None:
    dataset = spoilt(set_to(1, 40.0))
    assert contract_of(dataset, None, None, ("count",))[0].violations == []


def test_windows_that_a_young_history_has_not_filled_are_left_out() -> None:
    names = [f"terminal.payments.count.{days}d" for days in (1, 7, 30)]
    for history_days, young in ((10, names), (20, names[1:]), (40, names[2:]), (80, [])):
        found = warming_up(DOMAIN, history_days * DAY_MS)
        assert [name for name in names if name in found] == young
    assert "payment.amount_cents" not in warming_up(DOMAIN, 1)


def test_limits_of_the_user_are_strict_and_take_the_place_of_suggestions() -> None:
    own = Constraints(features=[
        FeatureConstraints("amount", completeness=0.95),
        FeatureConstraints("count", num_constraints=NumConstraints(maximum=8.0)),
        FeatureConstraints("flag", num_constraints=NumConstraints(domains=[0.0])),
        FeatureConstraints("gone"),
    ])  # fmt: skip
    dataset = sound()
    contract = found(dataset, own)
    by_name = {each.feature_name: each for each in contract.violations}
    assert set(by_name) == {"amount", "count", "flag", "gone"}
    over = np.flatnonzero(dataset.matrix[:, 1] > 8)
    assert 0 < by_name["count"].claims == len(over) < 30
    assert by_name["count"].claim_ids == [dataset.claim_ids[row] for row in over[:5]]
    assert by_name["gone"].constraint_check_type == "missing_column_check"
    assert contract_gate(contract).state == "failed"


def test_suggestions_are_written_and_read_back_the_same() -> None:
    dataset = sound()
    limits = contract_of(dataset, None, None)[1]
    assert read_constraints(encoded(limits), "f") == limits
    by_name = {each.name: each for each in limits.features}
    assert by_name["count"].inferred_type == "Integral"
    assert by_name["amount"].inferred_type == "Fractional"
    assert by_name["amount"].num_constraints.is_non_negative
    assert by_name["amount"].completeness == pytest.approx(0.6, abs=0.03)
    assert found(dataset, limits).violations == []
    document = msgspec.json.decode(encoded(limits))
    assert {"name", "inferred_type", "completeness", "num_constraints"} == set(
        document["features"][0]
    )


@given(st.binary(max_size=200) | st.sampled_from([
    b"[" * 100_000, b'{"features": [{"name": 1}]}', b'{"features": {}}', b"null", b"{}",
    b'{"features": [{"name": "a", "completeness": 1e999}]}',
    b'{"features": [{"name": "a"}, {"name": "a"}]}',
]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_limits_or_a_named_error(content: bytes) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(read_constraints(content, "limits.json"), Constraints)


def test_a_file_of_limits_that_is_too_large_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than"):
        read_constraints(b" " * (MOST_BYTES + 1), "f")


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=8),
    st.lists(st.integers(0, 500), min_size=8, max_size=8),
)
def test_the_distance_is_that_of_the_definition(past: list[int], other: list[int]) -> None:
    now = other[: len(past)]
    n, m = sum(past), sum(now)
    largest = 0.0
    for place in range(len(past)):
        if n and m:
            largest = max(largest, abs(sum(past[: place + 1]) / n - sum(now[: place + 1]) / m))
    expected = max(0.0, largest - 1.8 * ((n + m) / (n * m)) ** 0.5) if n and m else 0.0
    assert robust_distance(past, now) == pytest.approx(expected)
