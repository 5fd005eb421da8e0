"""The pipeline from the offline store to a promoted, loadable, verifiable version."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from claimtrace.clock import DAY_MS
from claimtrace.decisions import ModelRef
from claimtrace.errors import ConfigError, StateError, UsageError
from claimtrace.ids import digest
from claimtrace.settings.schema import DecisionSettings, Settings, TrainingSettings
from featurestore.offline.tables import definitions_rows, rows_of
from models.kernels.forest import Forest
from models.registry.adapters.folder import FolderRegistry
from models.registry.approval import failed_gates
from models.scorer import Scorer
from monitoring.windows.reference import read_reference
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster, edited
from tests.worlds.claims_history import DIGEST, FEATURES, History, write_history
from training.data.dataset import load_dataset
from training.evaluation.evaluate import Measured
from training.evaluation.metrics import average_precision
from training.fitting.fitters import Rows, fit_xgboost, silent
from training.pipeline import STEPS, train
from training.release.gates import Gate
from training.release.publish import CHAMPION, fitted_until_ms, recent_rows
from training.report import TrainingReport, tables_of
from training.run import TrainingRun
from training.scores import scores_of

SETTINGS = Settings(
    decision=DecisionSettings(capacity_per_day=2, review_per_day=5),
    training=TrainingSettings(params={"rounds": 60}, report=False),
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return write_history(tmp_path_factory.mktemp("history") / "offline")


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "models")


def run(
    history: History, registry: FolderRegistry, settings: Settings = SETTINGS, **more
) -> TrainingReport:
    return train(history.store, registry, settings, at_ms=history.end_ms, **more)


def test_a_first_model_is_published_promoted_and_serves(
    history: History, registry: FolderRegistry
) -> None:
    report = run(history, registry)
    assert report.promoted
    assert report.verdict.words.startswith("promoted as the first champion")
    assert registry.alias("champion") == report.model
    assert registry.verify() == []
    artefact = registry.load("champion")
    manifest = artefact.manifest
    assert manifest.attached == {}  # the settings ask for no report
    assert (manifest.definitions, manifest.features) == (DIGEST, FEATURES)
    assert manifest.domain == SETTINGS.domain
    assert manifest.capacity_per_day == 2
    scorer = Scorer.load(artefact)
    assert (scorer.kernel, scorer.notes) == ("numba", [])
    assert manifest.metrics["evaluation"]["average_precision"]["value"] > 0.3
    live = registry.live_at("champion", history.end_ms)
    assert live is not None
    assert live.reason == report.verdict.words


def test_the_thresholds_let_the_capacity_through(
    history: History, registry: FolderRegistry
) -> None:
    runs: list[TrainingRun] = []
    report = run(history, registry, steps=(*STEPS, ("look", runs.append)))
    training = runs[0]
    start = training.split.test_start_ms
    recent = training.dataset.event_times_ms >= start
    scores = np.round(training.probabilities[recent], 9)
    days = (training.dataset.event_times_ms[-1] + 1 - start) / DAY_MS
    for name, capacity in (("refer", 2), ("review", 5)):
        passing = np.sum(scores >= report.thresholds[name].value) / days
        assert passing == pytest.approx(report.thresholds[name].expected_per_day)
        assert 0.8 * capacity < passing <= capacity


def test_the_released_model_refers_about_as_many_claims_as_the_judged_one(tmp_path: Path) -> None:
    """The thresholds were chosen on scores of the judged model; live ones come from the other."""
    history = write_history(tmp_path / "offline", claims=8000)
    registry = FolderRegistry(tmp_path / "models")
    cut_ms = history.end_ms - 60 * DAY_MS
    report = train(history.store, registry, SETTINGS, at_ms=cut_ms)
    live = history.matrix[history.times_ms >= cut_ms]
    scorer = Scorer.load(registry.load("champion"))
    scores = np.round(scorer.probabilities(scorer.margins(live)), 9)
    for name, capacity in (("refer", 2), ("review", 5)):
        passing = np.sum(scores >= report.thresholds[name].value) / 60
        assert 0.6 * capacity < passing < 1.5 * capacity


def test_the_drift_reference_is_of_all_claims_with_scores_out_of_sample(
    history: History, registry: FolderRegistry
) -> None:
    report = run(history, registry)
    manifest = registry.load("champion").manifest
    reference = read_reference(manifest.reference)
    dataset = load_dataset(history.store, history.end_ms)
    start = manifest.lineage["split"]["test_start_ms"]
    assert reference.names == FEATURES
    assert (
        reference.n
        == np.sum(dataset.event_times_ms >= start)
        > next(part.claims for part in report.parts if part.name == "test")
    )
    assert reference.score.missing == 0
    assert reference.refer_threshold == manifest.thresholds.refer
    assert reference.features[5].missing > 0.8 * reference.n
    assert 0 < reference.frauds < reference.labels < reference.n
    assert set(manifest.baselines) == set(FEATURES)


def test_the_same_store_and_time_give_the_same_model(history: History, tmp_path: Path) -> None:
    one, two = FolderRegistry(tmp_path / "one"), FolderRegistry(tmp_path / "two")
    first, second = run(history, one), run(history, two)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    assert one.load("champion").model_json == two.load("champion").model_json
    assert first.model.digest == second.model.digest


def test_an_equal_challenger_is_published_as_pending_and_the_champion_stays(
    history: History, registry: FolderRegistry
) -> None:
    first = run(history, registry)
    second = run(history, registry)
    assert not second.promoted
    assert second.champion_before == registry.alias("champion") == first.model
    assert second.champion_evaluation == second.evaluation
    assert [ref.version for ref in registry.versions()] == [1, 2]
    last = registry.history()[-1]
    assert (last.act, last.version) == ("published", 2)
    assert "kept the champion: no better" in last.reason
    assert registry.approvals().states() == {1: "approved", 2: "pending"}
    assert failed_gates(registry.load(2).manifest.metrics) == ["quality"]


def test_a_better_challenger_becomes_champion(history: History, registry: FolderRegistry) -> None:
    weak = msgspec.structs.replace(
        SETTINGS, training=TrainingSettings(params={"rounds": 1, "max_depth": 1}, report=False)
    )
    first = run(history, registry, weak)
    assert first.promoted
    second = run(history, registry)
    assert second.promoted
    assert registry.alias("champion") == second.model
    assert second.champion_evaluation is not None
    assert (
        second.evaluation.average_precision.value
        > second.champion_evaluation.average_precision.value
    )


def test_noise_is_not_promoted(tmp_path: Path, registry: FolderRegistry) -> None:
    noise = write_history(tmp_path / "offline", signal=0.0)
    report = run(noise, registry)
    assert not report.promoted
    assert "not clearly better than chance" in report.verdict.words
    assert registry.alias("champion") is None


def test_a_champion_of_other_definitions_is_noted_and_not_compared(
    tmp_path: Path, registry: FolderRegistry
) -> None:
    history = write_history(tmp_path / "offline")
    run(history, registry)
    rows = history.store.dataset("decisions").to_table().to_pylist()
    newer = [
        row | {"definitions": "e" * 64, "features": row["features"][:2]}
        for row in ({**row, "log_time_ms": row["log_time_ms"] + 1} for row in rows)
    ]
    names = definitions_rows("e" * 64, "t", [(name, "field", "") for name in FEATURES[:2]])
    history.store.append("definitions", names, writer="e", version=0)
    history.store.append("decisions", rows_of("decisions", newer), writer="w", version=1)
    report = run(history, registry)
    assert report.champion_evaluation is None
    assert any("other definitions" in note for note in report.notes)
    assert report.features == 2
    assert report.promoted


def digests_of(names: list[str], **changes: str) -> dict[str, str]:
    return {name: changes.get(name, digest(name.encode())) for name in names}


def under_newer_definitions(history: History, names: list[str]) -> None:
    """Decide on all claims again under definitions with these features."""
    rows = history.store.dataset("decisions").to_table().to_pylist()
    places = [FEATURES.index(name) if name in FEATURES else None for name in names]
    newer = [
        row
        | {
            "definitions": "e" * 64,
            "log_time_ms": row["log_time_ms"] + 1,
            "features": [float("nan") if p is None else row["features"][p] for p in places],
        }
        for row in rows
    ]
    named = definitions_rows("e" * 64, "t", [(name, "field", "") for name in names])
    history.store.append("definitions", named, writer="e", version=0)
    history.store.append("decisions", rows_of("decisions", newer), writer="w", version=1)


def a_champion(registry: FolderRegistry, fitted_until_ms: int = 0) -> ModelRef:
    """Publish a model of `FEATURES`, with their digests, and put it in charge."""

    def rename(parsed: dict) -> None:
        parsed["learner"]["feature_names"] = FEATURES

    lineage = {"fitted_until_ms": fitted_until_ms, "params": {"rounds": 20, "max_depth": 2}}
    made = draft(features=FEATURES, definitions=DIGEST, baselines={}, lineage=lineage,
                 feature_digests=digests_of(FEATURES))  # fmt: skip
    acted = {"actor": "ann", "reason": "why", "at_ms": 1}
    ref = registry.publish(made, edited(booster()[1], rename), **acted)
    registry.move_alias(CHAMPION, ref.version, **acted)
    return ref


@pytest.mark.parametrize("has_seen_the_test", [False, True])
def test_a_champion_of_older_definitions_is_compared_by_its_own_features(
    has_seen_the_test: bool, tmp_path: Path, registry: FolderRegistry
) -> None:
    history = write_history(tmp_path / "offline")
    champion = a_champion(registry, history.end_ms if has_seen_the_test else 0)
    names = ["more", *reversed(FEATURES)]
    under_newer_definitions(history, names)
    known = {"e" * 64: digests_of(names)}
    runs: list[TrainingRun] = []
    steps = (*STEPS, ("look", runs.append))
    report = run(history, registry, known_definitions=known, steps=steps)
    assert report.champion_evaluation is not None
    assert any("has learned from a part" in note for note in report.notes) == has_seen_the_test
    if not has_seen_the_test:
        rows = runs[0].dataset.matrix[runs[0].panel.rows][:, :0:-1]
        scored = Scorer.load(registry.load(champion)).margins(rows)
        metrics = Measured(runs[0].panel, scored).metrics()
        assert report.champion_evaluation.average_precision.value == metrics[0]
    manifest = registry.load(report.model.version).manifest
    assert (manifest.features, manifest.feature_digests) == (names, known["e" * 64])
    assert manifest.lineage["champion_before"] == msgspec.to_builtins(champion)


def test_a_champion_with_a_changed_feature_is_not_compared_and_it_is_named(
    tmp_path: Path, registry: FolderRegistry
) -> None:
    history = write_history(tmp_path / "offline")
    a_champion(registry)
    under_newer_definitions(history, FEATURES)
    changed = {"e" * 64: digests_of(FEATURES, **{"shop.rate": "f" * 64})}
    report = run(history, registry, known_definitions=changed)
    assert report.champion_evaluation is None
    assert "champion 1 can't score these claims: shop.rate changed" in report.notes


def test_the_manifest_records_settings_and_code_and_no_place_on_this_machine(
    history: History, registry: FolderRegistry
) -> None:
    run(history, registry)
    manifest = registry.load(1).manifest
    assert manifest.feature_digests is msgspec.UNSET
    assert manifest.lineage["champion_before"] is None
    settings = manifest.lineage["settings"]
    assert set(settings) == {"digest", "training", "decision", "drift"}
    assert settings["training"]["params"] == {"rounds": 60}
    assert manifest.lineage["code"]["fitter"] == "xgboost"
    assert str(registry.folder.parent.parent) not in msgspec.json.encode(manifest).decode()


def test_an_alias_that_moved_meanwhile_is_not_overwritten(
    history: History, registry: FolderRegistry
) -> None:
    weak = msgspec.structs.replace(
        SETTINGS, training=TrainingSettings(params={"rounds": 1, "max_depth": 1}, report=False)
    )
    run(history, registry, weak)

    def intrude(training: TrainingRun) -> None:
        other = FolderRegistry(registry.folder.parent)
        run(history, other)

    steps = (*STEPS[:-1], ("intrude", intrude), STEPS[-1])
    with pytest.raises(StateError, match="champion points to"):
        run(history, registry, steps=steps)
    assert registry.alias("champion") == registry.versions()[1]
    assert len(registry.versions()) == 3


def test_steps_report_and_can_be_inserted(history: History, registry: FolderRegistry) -> None:
    calls: list[tuple[str, int, int]] = []

    def tune(training: TrainingRun) -> None:
        assert training.split.train.size
        training.params["rounds"] = 3
        training.extra_gates.append(leak)

    leak = Gate(name="leak", state="failed", words="AUC .99 alone", evidence="leaks")
    report = run(
        history,
        registry,
        steps=(*STEPS[:3], ("tune", tune), *STEPS[3:]),
        progress=lambda *call: calls.append(call),
    )
    assert report.rounds <= 3
    assert report.gates[0] == leak
    assert [gate.name for gate in report.gates[1:]] == [
        "contract", "leaks", "bias", "quality", "calibration", "stability", "kernel", "latency",
        "size",
    ]  # fmt: skip
    assert not report.promoted
    assert [entry.reason for entry in registry.history()] == [f"trained; {report.decision}"]
    assert registry.load(1).manifest.metrics["gates"] == msgspec.to_builtins(report.gates)
    names = [name for name, done, total in calls if (done, total) == (0, 1)]
    assert names == [
        "collect", "contract", "split", "tune", "choose", "judge", "calibrate", "evaluate", "leaks",
        "release", "thresholds", "bias", "gates", "reference", "explain", "report", "publish",
    ]  # fmt: skip


def test_too_little_to_learn_from_is_refused_and_nothing_is_published(
    tmp_path: Path, registry: FolderRegistry
) -> None:
    small = write_history(tmp_path / "offline", claims=60, days=30)
    with pytest.raises(UsageError, match="known frauds"):
        run(small, registry)
    assert registry.versions() == []


def test_the_released_model_learns_from_everything_and_the_judged_one_from_the_past(
    history: History, registry: FolderRegistry
) -> None:
    runs: list[TrainingRun] = []
    run(history, registry, steps=(*STEPS, ("look", runs.append)))
    training, artefact = runs[0], registry.load("champion")
    dataset, split, lineage = training.dataset, training.split, artefact.manifest.lineage
    mature = dataset.has_label & (dataset.event_times_ms <= training.maturity.mature_until_ms)
    for fitted, rows, name in (
        (training.judged, split.train, "judged"),
        (training.released, np.flatnonzero(mature), "released"),
    ):
        learnt = Rows(dataset.matrix[rows], dataset.is_fraud[rows])
        again = fit_xgboost(learnt, None, training.choice.params, training.seed, silent)
        assert again.model_json == fitted.model_json
        assert lineage[name]["model_digest"] == digest(fitted.model_json)
        assert lineage[name]["claims"] == len(rows)
    assert artefact.model_json == training.released.model_json != training.judged.model_json
    assert not set(recent_rows(dataset, split)) & set(split.train)


def test_no_claim_is_calibrated_or_judged_by_a_model_that_has_seen_it(
    history: History, registry: FolderRegistry
) -> None:
    """With the verdicts of the test turned round, no margin and no judged tree changes."""
    runs: list[TrainingRun] = []

    def turned(training: TrainingRun) -> None:
        labels = training.dataset.labels.copy()
        labels[training.split.test] = 1 - labels[training.split.test]
        training.dataset = dataclasses.replace(training.dataset, labels=labels)

    run(history, registry, steps=(*STEPS, ("look", runs.append)))
    run(history, registry, steps=(*STEPS[:3], ("turn", turned), *STEPS[3:], ("look", runs.append)))
    plain, other = runs
    assert plain.margins.tobytes() == other.margins.tobytes()
    assert plain.judged.model_json == other.judged.model_json
    assert plain.calibration == other.calibration
    assert plain.released.model_json != other.released.model_json


def test_a_champion_is_never_judged_by_claims_that_it_has_learned_from(
    history: History, registry: FolderRegistry
) -> None:
    """A model of its settings, fitted on the claims before the test, stands in for it."""
    run(history, registry)
    report = run(history, registry)
    assert any("learned from a part of the test" in note for note in report.notes)
    served = Forest.from_xgboost_json(registry.load(1).model_json)
    dataset, runs = load_dataset(history.store, history.end_ms), list[TrainingRun]()
    run(history, registry, steps=(*STEPS, ("look", runs.append)))
    rows = runs[0].split.test
    by_heart = average_precision(dataset.is_fraud[rows], served.margins(dataset.matrix[rows]))
    assert report.champion_evaluation is not None
    assert report.champion_evaluation.average_precision.value < by_heart - 0.05


def test_the_test_begins_where_the_champions_knowledge_ends(tmp_path: Path) -> None:
    history = write_history(tmp_path / "offline", claims=8000)
    registry = FolderRegistry(tmp_path / "models")
    train(history.store, registry, SETTINGS, at_ms=history.end_ms - 50 * DAY_MS)
    learned_until_ms = fitted_until_ms(registry.load(CHAMPION).manifest)
    runs: list[TrainingRun] = []
    report = run(history, registry, steps=(*STEPS, ("look", runs.append)))
    assert runs[0].split.test_start_ms == learned_until_ms
    assert report.champion_evaluation is not None
    assert not any("learned from" in note for note in report.notes)
    rows = runs[0].panel.rows
    served = Forest.from_xgboost_json(registry.load(1).model_json)
    margins = served.margins(runs[0].dataset.matrix[rows])
    champion = Measured(runs[0].panel, margins).metrics()[0]
    assert report.champion_evaluation.average_precision.value == champion


def test_a_split_by_policy_trains_too(history: History, registry: FolderRegistry) -> None:
    by_policy = msgspec.structs.replace(SETTINGS.training, split="group")
    report = run(history, registry, msgspec.structs.replace(SETTINGS, training=by_policy))
    assert report.promoted
    assert report.split == "group"
    seen, never = report.subsets
    assert (seen.claims, never.claims) == (0, report.evaluation.labelled)


def test_settings_of_the_users_own_are_kept(history: History, registry: FolderRegistry) -> None:
    params = {"max_depth": 1, "rounds": 70, "reg_lambda": 2.5, "max_bin": 32}
    own = TrainingSettings(params=params, report=False)
    report = run(history, registry, msgspec.structs.replace(SETTINGS, training=own))
    assert len(report.tried) == 1
    assert {name: report.params[name] for name in ("max_depth", "reg_lambda", "max_bin")} == {
        "max_depth": 1, "reg_lambda": 2.5, "max_bin": 32,
    }  # fmt: skip
    assert report.rounds <= 70


def test_scores_are_of_models_that_have_not_seen_the_claim(
    history: History, registry: FolderRegistry
) -> None:
    runs: list[TrainingRun] = []
    run(history, registry, steps=(*STEPS, ("look", runs.append)))
    table = scores_of(runs[0]).to_pylist()
    parts = {each["claim_id"]: each["part"] for each in table}
    split, ids = runs[0].split, runs[0].dataset.claim_ids
    assert {parts[ids[row]] for row in split.train} == {"train"}
    assert {parts[ids[row]] for row in split.test} == {"test"}
    assert all(each["margin"] is not None for each in table if each["part"] == "test")
    held = [each for each in table if each["part"] == "train" and each["margin"] is not None]
    assert len(held) > 0.6 * len(split.train)
    assert sum(each["is_fraud"] is None for each in table) == (~runs[0].dataset.has_label).sum()


def test_the_report_reads_as_json_and_as_tables(history: History, registry: FolderRegistry) -> None:
    report = run(history, registry)
    assert msgspec.json.decode(msgspec.json.encode(report), type=TrainingReport) == report
    tables = tables_of(report)
    assert all(len(row) == len(table.header) for table in tables for row in table.rows)
    assert "fraud money found at 2 a day" in [row[0] for row in tables[0].rows]
    assert len(tables[-1].rows) <= 7
    second = run(history, registry)
    assert "champion" in tables_of(second)[0].header


def test_a_small_insurers_thresholds_are_not_every_claim(
    history: History, registry: FolderRegistry
) -> None:
    """With room for all claims, those that are safer than the average are left alone."""
    settings = msgspec.structs.replace(SETTINGS, decision=DecisionSettings(capacity_per_day=9_999))
    report = run(history, registry, settings)
    average = round(report.evaluation.base_ratio, 9)
    assert 0 < average < 0.5
    for name in ("refer", "review"):
        assert report.thresholds[name].value == average
    assert any("safer than the average" in note for note in report.notes)
    few = msgspec.structs.replace(SETTINGS, decision=DecisionSettings(capacity_per_day=0.5))
    report = run(history, registry, few)
    assert report.thresholds["review"].capacity_per_day == 2
    assert report.thresholds["refer"].value > report.thresholds["review"].value >= average


def test_a_wrong_parameter_is_refused_before_anything_is_read(registry: FolderRegistry) -> None:
    wrong = TrainingSettings(params={"eta": -1.0})
    settings = msgspec.structs.replace(SETTINGS, training=wrong)
    with pytest.raises(ConfigError, match=r"eta = -1\.0"):
        train(None, registry, settings, at_ms=0)  # type: ignore[arg-type]
