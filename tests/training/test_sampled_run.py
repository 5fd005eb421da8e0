"""A run on a sample estimates what the run on all claims finds; whole runs with a search."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from claimtrace.clock import DAY_MS
from claimtrace.errors import UsageError
from claimtrace.settings.schema import DecisionSettings, Settings, TrainingSettings
from featurestore.offline.tables import rows_of
from models.calibration import fit_calibration
from models.registry.adapters.folder import FolderRegistry
from monitoring.windows.reference import read_reference
from tests.worlds.claims_history import History, write_history
from training.adapters.studies import StudySearch
from training.data.dataset import load_dataset
from training.data.maturity import maturity_of
from training.data.queries import Sample
from training.evaluation.capacity import threshold_for
from training.evaluation.evaluate import Measured, Panel
from training.evaluation.metrics import calibration_error
from training.pipeline import STEPS, train
from training.report import TrainingReport, tables_of
from training.run import TrainingRun

SETTINGS = Settings(
    decision=DecisionSettings(capacity_per_day=2, review_per_day=5),
    training=TrainingSettings(params={"rounds": 60, "max_depth": 2, "eta": 0.2}),
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return write_history(tmp_path_factory.mktemp("history") / "offline", claims=12_000, signal=3.0)


def run(history: History, folder: Path, **training) -> tuple[TrainingReport, TrainingRun]:
    runs: list[TrainingRun] = []
    chosen = msgspec.structs.replace(SETTINGS.training, **training)
    settings = msgspec.structs.replace(SETTINGS, training=chosen)
    search = None
    if chosen.tune:
        search = StudySearch(folder / "studies", trials=chosen.tune, jobs=2,
                             objective=chosen.tune_for, at_ms=history.end_ms, seed=7)  # fmt: skip
    report = train(
        history.store, FolderRegistry(folder), settings, at_ms=history.end_ms,
        steps=(*STEPS, ("look", runs.append)), search=search,
    )  # fmt: skip
    return report, runs[0]


@pytest.fixture(scope="module")
def both(
    history: History, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[TrainingReport, TrainingRun, FolderRegistry]]:
    """A run on all claims, and one on a sample of a fifth."""
    folder = tmp_path_factory.mktemp("both")
    return {
        name: (*run(history, folder / name, **more), FolderRegistry(folder / name))
        for name, more in (("whole", {}), ("some", {"sample": 0.2}))
    }


def test_the_estimates_of_a_sample_are_those_of_all_claims(both: dict) -> None:
    (whole, all_claims, _), (some, sampled, _) = both["whole"], both["some"]
    assert len(sampled.dataset.labels) < 0.3 * len(all_claims.dataset.labels)
    assert some.sample == 0.2
    close = pytest.approx
    one, two = whole.evaluation, some.evaluation
    assert two.claims == close(one.claims, rel=0.08)
    assert two.labelled == close(one.labelled, rel=0.08)
    assert two.frauds == close(one.frauds, rel=0.1)
    assert two.base_ratio == close(one.base_ratio, rel=0.12)
    assert two.auc.value == close(one.auc.value, abs=0.03)
    assert two.average_precision.value == close(one.average_precision.value, abs=0.07)
    assert two.precision.value == close(one.precision.value, rel=0.25)
    assert two.recall.value == close(one.recall.value, rel=0.25)
    assert two.calibration_error < one.calibration_error + 0.02
    assert some.maturity.delay_ms == close(whole.maturity.delay_ms, rel=0.15)
    for ours, theirs in zip(some.maturity.by_month, whole.maturity.by_month, strict=True):
        assert ours.claims == close(theirs.claims, rel=0.25)
        assert ours.frauds == theirs.frauds
    for ours, theirs in zip(some.parts, whole.parts, strict=True):
        assert ours.claims == close(theirs.claims, rel=0.1)
    for name, threshold in whole.thresholds.items():
        assert some.thresholds[name].expected_per_day == close(threshold.expected_per_day, rel=0.3)
    assert any("stand for" in note for note in some.notes)


def test_the_reference_of_a_sample_has_the_shares_of_all_claims(both: dict) -> None:
    one, two = (
        read_reference(both[name][2].load("champion").manifest.reference)
        for name in ("whole", "some")
    )
    assert two.n == pytest.approx(0.2 * one.n, rel=0.15)
    assert two.frauds / two.labels == pytest.approx(one.frauds / one.labels, rel=0.3)
    assert two.features[0].mean == pytest.approx(one.features[0].mean, abs=0.1)
    assert two.referred / two.n == pytest.approx(one.referred / one.n, rel=0.5)


def test_the_same_sample_gives_the_same_model(history: History, tmp_path: Path, both: dict) -> None:
    again, _ = run(history, tmp_path, sample=0.2)
    assert again == both["some"][0]


def test_a_row_that_stands_for_five_counts_as_five_rows() -> None:
    """Each weighted figure equals the plain one on rows that are there several times."""
    rng = np.random.default_rng(4)
    rows, weights = 300, rng.integers(1, 6, 300).astype(np.float64)
    again = np.repeat(np.arange(rows), weights.astype(int))
    labels, scores = rng.random(rows) < 0.2, np.round(rng.random(rows), 2)
    few, many = (
        threshold_for(scores, 10, 20, 0.0, weights),
        threshold_for(scores[again], 10, 20),
    )
    assert few == many
    ones = np.ones(len(again))
    whole = calibration_error(labels[again], scores[again], weights=ones)
    assert calibration_error(labels, scores, weights=weights) == pytest.approx(whole, abs=0.02)
    panel = {
        "labels": labels.astype(np.float64), "days": rng.integers(0, 9, rows),
        "fraud_cents": labels * 100.0, "groups": np.arange(rows), "rows": np.arange(rows),
    }  # fmt: skip
    order = np.argsort(panel["days"], kind="stable")
    panel = {name: column[order] for name, column in panel.items()}
    again = np.repeat(np.arange(rows), weights[order].astype(int))
    common = {"day_count": 9, "has_money": True, "capacity_per_day": 7.0}
    weighed = Measured(Panel(**panel, **common, weights=weights[order]), scores[order])
    repeated = {name: column[again] for name, column in panel.items()}
    plain = Measured(Panel(**repeated, **common, weights=ones), scores[order][again])
    assert weighed.metrics() == pytest.approx(plain.metrics())
    assert weighed.money_found_cents() == plain.money_found_cents()
    assert weighed.judged_by_day() == pytest.approx(plain.judged_by_day())


def test_a_curve_of_weighted_claims_is_that_of_all() -> None:
    rng = np.random.default_rng(6)
    labels = rng.random(20_000) < 0.1
    margins = rng.normal(-2 + 2 * labels, 1)
    kept = labels | (rng.random(20_000) < 0.2)
    weights = np.where(labels[kept], 1.0, 5.0)
    whole, some = fit_calibration(margins, labels), fit_calibration(
        margins[kept], labels[kept], weights
    )  # fmt: skip
    at = np.linspace(-3, 2, 11)
    assert some.probabilities(at) == pytest.approx(whole.probabilities(at), abs=0.08)
    unweighted = fit_calibration(margins[kept], labels[kept]).probabilities(at)
    assert np.abs(unweighted - whole.probabilities(at)).max() > 0.1
    few = slice(0, 60)
    shifted = fit_calibration(margins[few], labels[few] & (np.arange(60) < 9), np.full(60, 3.0))
    assert shifted.method == "shift"


def test_the_delay_of_verdicts_is_estimated_by_weight(history: History) -> None:
    whole = load_dataset(history.store, history.end_ms)
    some = load_dataset(history.store, history.end_ms, sample=Sample(0.2, 7))
    one, two = maturity_of(whole), maturity_of(some)
    assert two.delay_ms / DAY_MS == pytest.approx(one.delay_ms / DAY_MS, rel=0.15)
    assert [each.known_ratio for each in two.by_age] == pytest.approx(
        [each.known_ratio for each in one.by_age], abs=0.03
    )


def test_a_search_is_repeated_to_the_byte_and_said_in_the_report(
    history: History, tmp_path: Path
) -> None:
    """Also when it goes on from trials that are there already, as after a kill."""
    few = {"tune": 5, "sample": 0.2, "params": {"max_depth": 2, "rounds": 60}}
    one, first = run(history, tmp_path / "one", **few)
    (kept,) = (tmp_path / "one" / "studies").glob("*.jsonl")
    lines = kept.read_bytes().splitlines(keepends=True)
    (tmp_path / "two" / "studies").mkdir(parents=True)
    (tmp_path / "two" / "studies" / kept.name).write_bytes(b"".join(lines[:5]) + b'{"op')
    two, second = run(history, tmp_path / "two", **few)
    assert one == two
    assert first.released.model_json == second.released.model_json
    assert one.search is not None
    assert one.search.asked == 5
    assert one.search.finished + one.search.given_up == 6
    assert one.search.gain >= 0
    assert first.choice.params["max_depth"] == 2
    assert msgspec.json.decode(msgspec.json.encode(one), type=TrainingReport) == one
    assert "Search for settings, on claims before the test" in [t.title for t in tables_of(one)]


def test_a_search_for_money_finds_at_least_what_the_built_in_choice_finds(
    history: History, tmp_path: Path
) -> None:
    report, _ = run(history, tmp_path, tune=3, tune_for="money", sample=0.2,
                    params={"max_depth": 2, "rounds": 60})  # fmt: skip
    assert report.search is not None
    assert 0 < report.search.built_in <= report.search.best <= 1
    assert report.search.objective == "money"


def test_broken_data_stops_the_run_and_may_be_accepted(tmp_path: Path) -> None:
    history = write_history(tmp_path / "offline", claims=3000)
    rows = history.store.dataset("decisions").to_table().to_pylist()
    rows.sort(key=lambda row: row["event_time_ms"])
    for row in rows[-400:]:
        row["features"][0] += 1000
    other = type(history.store)(tmp_path / "other")
    other.append("decisions", rows_of("decisions", rows), writer="w", version=0)
    for table in ("labels", "definitions"):
        other.append(table, history.store.dataset(table).to_table(), writer="w", version=0)
    history.store = other
    with pytest.raises(UsageError, match=r"breaks 1 of its limits: claim\.amount") as caught:
        run(history, tmp_path / "models")
    assert "such as c-0" in str(caught.value)
    assert "--contract warn" in caught.value.hint
    assert FolderRegistry(tmp_path / "models").versions() == []
    report, _ = run(history, tmp_path / "models", contract="warn")
    assert report.contract is not None
    assert report.contract.accepted
    assert any("claim.amount" in note for note in report.notes)
    titles = [table.title for table in tables_of(report)]
    assert "Data contract: broken, accepted" in titles


def test_a_leaking_feature_is_not_promoted(tmp_path: Path) -> None:
    history = write_history(tmp_path / "offline", claims=3000)
    rows = history.store.dataset("decisions").to_table().to_pylist()
    for row in rows:
        number = int(row["claim_id"][2:])
        row["features"][3] = float(history.truth[number]) + number % 7 / 100
    other = type(history.store)(tmp_path / "other")
    other.append("decisions", rows_of("decisions", rows), writer="w", version=0)
    for table in ("labels", "definitions"):
        other.append(table, history.store.dataset(table).to_table(), writer="w", version=0)
    history.store = other
    report, _ = run(history, tmp_path / "models")
    assert not report.promoted
    (gate,) = [each for each in report.gates if each.state == "failed"]
    assert gate.name == "leaks"
    assert "noise.a tells as much alone as the model" in gate.words
    assert FolderRegistry(tmp_path / "models").alias("champion") is None
