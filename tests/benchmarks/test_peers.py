"""The peers do the same job: the plain loop's vectors are the engine's, and all share its steps."""

from __future__ import annotations

import doctest
import math
import signal

import msgspec
import numpy as np
import pytest
import xgboost

from benchmarks.canonical import DOMAIN, events
from benchmarks.champion import served_vectors
from benchmarks.peers import job as shared
from benchmarks.peers import windows
from benchmarks.peers.job import FEATURES, OWN, Decision, Fact, Job, Model, Reason, decode
from benchmarks.peers.plain_loop import Book, vectors_of
from claimtrace_examples.auto_claims import ClaimFiled

POLICIES, CLAIMS = 120, 1_500


class _Reason(Reason):
    value: float | None


class _Read(Decision):
    """A decision as it is read back: what was missing is None."""

    reasons: list[_Reason]
    features: list[float | None]


@pytest.fixture(scope="module")
def facts():
    return [decode(sent.value) for sent in events(POLICIES, CLAIMS)]


@pytest.fixture(scope="module")
def vectors(facts):
    return vectors_of(facts, Book())[1]


@pytest.fixture
def task(tmp_path):
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(400, FEATURES)).astype(np.float32)
    suspect = rows[:, :10].sum(axis=1) + rng.normal(size=400) > 0
    trained = xgboost.train({"max_depth": 4, "objective": "binary:logistic", "nthread": 1},
                            xgboost.DMatrix(rows, suspect, nthread=1), 40)  # fmt: skip
    trained.save_model(tmp_path / "model.json")
    return Job(
        bootstrap="", source="in", output="out", model=str(tmp_path / "model.json"),
        referred_ratio=0.05, folder=str(tmp_path),
    )  # fmt: skip


def test_the_plain_loop_has_the_vectors_of_the_engine(vectors):
    ours = served_vectors(POLICIES, CLAIMS)
    assert ours.shape == (CLAIMS, FEATURES)
    np.testing.assert_array_equal(np.array(vectors), ours)
    filled = np.mean(~np.isnan(ours) & (ours != 0), axis=0)
    assert filled.min() > 0  # every feature is something, somewhere


def test_labels_are_among_the_events_and_give_no_vector(facts):
    labels = [fact for fact in facts if fact.adjudication_id]
    assert len(labels) > 20
    assert all(Book().take(label) is None for label in labels)


def test_a_peer_with_the_policy_alone_has_its_part_of_the_vector(facts, vectors):
    past: dict[str, list[list[int]]] = {}
    claims = [fact for fact in facts if not fact.adjudication_id]
    for claim, vector in zip(claims, vectors, strict=True):
        now_ms, seen = shared.to_ms(claim.filed_at), past.setdefault(claim.policy_id, [])
        seen[:] = [each for each in seen if each[0] > now_ms - 365 * windows.DAY_MS]
        found = [*shared.own_features(claim, now_ms), *shared.policy_features(seen, now_ms)]
        np.testing.assert_array_equal(found, vector[: OWN + 5])
        seen.append([now_ms, claim.total_claim_cents])
    assert DOMAIN.feature_names[OWN].startswith("policy.")


def test_the_fields_that_peers_read_are_those_of_the_claim():
    label = {"adjudication_id", "decided_at", "outcome"}
    assert set(Fact.__struct_fields__) - label <= set(ClaimFiled.__struct_fields__)


def test_a_decision_says_score_margin_vector_and_largest_shares(task, vectors):
    model = Model(task)
    claim_ids = [f"claim-{i}" for i in range(len(vectors))]
    said = [
        msgspec.json.decode(each, type=_Read)
        for start in range(0, len(vectors), 100)
        for each in model.decide(claim_ids[start : start + 100], vectors[start : start + 100])
    ]
    rows = np.array(vectors, dtype=np.float32)
    booster = xgboost.Booster(model_file=task.model)
    margins = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_allclose([each.margin for each in said], margins, rtol=1e-6)
    assert all(each.score == 1 / (1 + math.exp(-each.margin)) for each in said)
    referred = [i for i, each in enumerate(said) if each.reasons]
    assert [each.outcome for each in said].count("refer") == len(referred) == model.referred > 0
    shares = booster.predict(xgboost.DMatrix(rows[referred]), pred_contribs=True)[:, :-1]
    for i, share in zip(referred, shares, strict=True):
        top = [reason.contribution for reason in said[i].reasons]
        assert len(top) == shared.REASONS
        np.testing.assert_allclose(top, sorted(share, key=abs)[:-7:-1], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(
            [math.nan if each is None else each for each in said[i].features], vectors[i]
        )


def test_one_in_twenty_is_referred_whatever_the_margins_are(task):
    rng = np.random.default_rng(7)
    model = Model(task)
    for _ in range(8):  # half of the features missing, as with a peer that has no windows
        rows = rng.normal(size=(1000, FEATURES))
        rows[:, 20:] = math.nan
        model.decide([""] * len(rows), rows.tolist())
    assert model.emitted == 8000
    assert model.decided == 7000  # those before the first threshold don't count
    assert 0.03 < model.referred / model.decided < 0.07


def test_a_peer_that_is_told_to_stop_ends_in_its_own_way():
    before = signal.getsignal(signal.SIGTERM)
    try:
        is_over = shared.stop_asked()
        assert not is_over()
        signal.raise_signal(signal.SIGTERM)
        assert is_over()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("module", [shared, windows], ids=lambda module: module.__name__)
def test_examples_hold(module):
    assert doctest.testmod(module).failed == 0
