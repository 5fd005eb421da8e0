"""Drift alerts: one when drift lasts, one when drift is over, and the same after a restart."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import ConfigError, StateError
from monitoring.alerting.alert_book import AlertBook
from monitoring.layers.records import (
    ABSENT,
    CLEARED,
    DRIFT,
    INPUTS,
    OK,
    OUTCOME,
    RAISED,
    SCORE,
    TOO_FEW,
    Distance,
    DriftAlert,
    DriftRecord,
    FeatureDrift,
    Inputs,
    Outcome,
    RateDrift,
    Score,
)

DAY_MS = 86_400_000


def _rate(drifted, ratio=0.12):
    return RateDrift(ratio, 0.05, 6.0, 1e-9, drifted)


def _values(drifted, higher=0.6, above=10.0, to=25.5):
    return Distance(
        0.03, 0.004, 0.005, 9.0, 1e-9, 0.1, 0.05, higher, above, to, 0.12, 0.051, drifted
    )


def _feature(name, drifted=True):
    return FeatureDrift(name, drifted, 6.0, _values(drifted), _rate(False), _rate(False))


def _record(day, features=(), state=None, referral=False, fraud=None, model="demo/1"):
    inputs = state or (DRIFT if features else OK)
    return DriftRecord(
        model=model,
        window_from_ms=day * DAY_MS,
        window_to_ms=(day + 1) * DAY_MS,
        n=1_000,
        reference_n=50_000,
        late=0,
        state=inputs,
        inputs=Inputs(inputs, len(features), [_feature(name) for name in features], _rate(False)),
        score=Score(state or (DRIFT if referral else OK), _values(False), _rate(referral)),
        outcome=Outcome(ABSENT, 0, None)
        if fraud is None
        else Outcome(DRIFT if fraud else OK, 500, _rate(fraud)),
    )


def _run(book, days):
    return [
        (alert.at_ms // DAY_MS - 1, alert.state, *alert.subjects)
        for day, features in enumerate(days)
        for alert in book.observe(_record(day, features))
    ]


def test_two_of_three_raise_once_and_three_quiet_clear_once():
    days = ["a", "", "a", "a", "a", "", "a", "", "", "", "", ""]
    assert _run(AlertBook(2, 3), days) == [(2, RAISED, "a"), (9, CLEARED, "a")]


def test_one_window_is_no_alert_and_different_features_do_not_add_up():
    assert _run(AlertBook(2, 3), ["a", "b", "c", "d", "", ""]) == []
    assert _run(AlertBook(1, 1), ["a", "b", ""]) == [
        (0, RAISED, "a"),
        (1, RAISED, "b"),
        (1, CLEARED, "a"),
        (2, CLEARED, "b"),
    ]


def test_what_one_window_settles_comes_as_one_alert():
    assert _run(AlertBook(2, 2), ["ba", "abc", "c"]) == [(1, RAISED, "a", "b"), (2, RAISED, "c")]


def test_windows_with_too_few_rows_do_not_count():
    book = AlertBook(2, 2)
    assert book.observe(_record(0, "a")) == []
    assert book.observe(_record(1, "", state=TOO_FEW)) == []
    (alert,) = book.observe(_record(2, "a"))
    assert (alert.since_ms, alert.at_ms) == (0, 3 * DAY_MS)


def test_a_repeated_or_older_record_changes_nothing():
    book = AlertBook(2, 3)
    book.observe(_record(4, "a"))
    before = book.state()
    assert book.observe(_record(4, "a")) == []
    assert book.observe(_record(3, "a")) == []
    assert book.state() == before


def test_layers_and_models_are_apart():
    book = AlertBook(2, 2)
    for day in range(2):
        alerts = [
            *book.observe(_record(day, "a", referral=True, fraud=True)),
            *book.observe(_record(day, "", model="demo/2")),
        ]
    assert [(alert.layer, alert.subjects) for alert in alerts] == [
        (INPUTS, ["a"]),
        (SCORE, ["referral rate"]),
        (OUTCOME, ["fraud rate"]),
    ]
    assert book.raised("demo/1")[SCORE] == {"referral rate": 0}
    assert book.raised("demo/2") == {}
    assert len({alert.alert_id for alert in alerts}) == 3


def test_an_outcome_record_leaves_the_other_layers_alone():
    book = AlertBook(1, 2)
    book.observe(_record(3, "a"))
    outcome = _record(3, "", state=ABSENT, fraud=True)
    assert [alert.layer for alert in book.observe(outcome)] == [OUTCOME]
    assert list(book.raised("demo/1")) == [INPUTS, OUTCOME]


def test_words():
    book = AlertBook(1, 1)
    raised, referral = book.observe(_record(0, "abcde", referral=True))
    assert raised.text == ("a, b, c and 2 more drifted under demo/1 since 1970-01-01 00:00 UTC")
    assert raised.effects[0] == (
        "a: values higher: 12.0% above 10 to 25.5, 5.1% in training (PSI 0.03, by chance 0.004)"
    )
    assert len(raised.effects) == 5
    assert "producers" in raised.hint
    assert referral.effects == ["referral rate: 12.0% of claims are referred, 5.0% in training"]
    (cleared, _) = book.observe(_record(1))
    assert cleared.text == "a, b, c and 2 more: drift under demo/1 is over at 1970-01-03 00:00 UTC"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (_values(True, 0.4, None, 3.0), "values lower: 12.0% at most 3, 5.1% in training"),
        (_values(True, 0.5, 3.0, None), "values spread differently: 12.0% above 3, 5.1%"),
        (_values(True, 0.5, None, None), "values spread differently: 12.0%, 5.1%"),
    ],
)
def test_words_of_bins(values, words):
    feature = FeatureDrift("x", True, 2.0, values, _rate(True), _rate(True))
    record = _record(0)
    record = msgspec.structs.replace(
        record, inputs=Inputs(DRIFT, 1, [feature], _rate(True, ratio=0.02))
    )
    (alert,) = AlertBook(1, 1).observe(record)
    assert alert.subjects == ["x", "unseen categories"]
    assert words in alert.effects[0]
    assert "; 12.0% missing, 5.0% in training; 12.0% outside the range" in alert.effects[0]
    assert "2.0% of claims have a category that training never saw" in alert.effects[1]


def test_words_of_scores():
    record = msgspec.structs.replace(_record(0), score=Score(DRIFT, _values(True), _rate(False)))
    (alert,) = AlertBook(1, 1).observe(record)
    assert alert.subjects == ["score"]


def test_a_retired_model_is_cleared_and_forgotten():
    book = AlertBook(1, 1)
    book.observe(_record(0, "a", referral=True))
    alerts = book.retire("demo/1", 9 * DAY_MS)
    assert [(alert.layer, alert.state, alert.effects) for alert in alerts] == [
        (INPUTS, CLEARED, []),
        (SCORE, CLEARED, []),
    ]
    assert book.state() == {}
    assert book.retire("demo/1", 9 * DAY_MS) == []


@given(
    st.lists(st.sets(st.sampled_from("abcd")).map(sorted), max_size=20),
    st.integers(0, 20),
    st.integers(1, 4).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
)
def test_a_restart_leaves_no_trace_and_raises_alternate(days, cut, m_of_n):
    whole = AlertBook(*m_of_n)
    alerts = [a for day, some in enumerate(days) for a in whole.observe(_record(day, some))]
    first = AlertBook(*m_of_n)
    found = [a for day, some in enumerate(days[:cut]) for a in first.observe(_record(day, some))]
    snapshot = msgspec.json.decode(msgspec.json.encode(first.state(), order="deterministic"))
    second = AlertBook.restore(*m_of_n, snapshot)
    for day, some in enumerate(days[cut:], start=min(cut, len(days))):
        found += second.observe(_record(day, some))
    assert found == alerts
    assert second.state() == whole.state()
    for subject in "abcd":
        states = [alert.state for alert in alerts if subject in alert.subjects]
        assert states == [RAISED, CLEARED] * (len(states) // 2) + [RAISED] * (len(states) % 2)


def test_alerts_are_json():
    (alert,) = AlertBook(1, 1).observe(_record(0, "a"))
    assert msgspec.json.decode(msgspec.json.encode(alert), type=DriftAlert) == alert


@pytest.mark.parametrize(("m", "n"), [(0, 1), (2, 1)])
def test_m_of_n_out_of_range(m, n):
    with pytest.raises(ConfigError):
        AlertBook(m, n)


def test_state_that_is_none_is_refused():
    with pytest.raises(StateError, match="not the state"):
        AlertBook.restore(1, 1, {"demo/1": {"inputs": {"seen": 3}}})
