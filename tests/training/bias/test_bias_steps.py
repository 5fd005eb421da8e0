"""Bias in a training run: at the threshold for `refer`, on the test claims of the judged model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from claimtrace.errors import ConfigError
from claimtrace.events import Event, EventId
from claimtrace.settings.schema import DecisionSettings, Settings, TrainingSettings
from featurestore.definitions import Domain, Entity, Facet, number
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import FEATURES, History, write_history
from training.bias.counts import Cells, count_table
from training.bias.metrics import METRICS
from training.pipeline import MITIGATE, STEPS, train
from training.report import TrainingReport, tables_of
from training.run import TrainingRun

SETTINGS = Settings(
    decision=DecisionSettings(capacity_per_day=2, review_per_day=5),
    training=TrainingSettings(params={"rounds": 40, "max_depth": 3, "reg_lambda": 10.0}),
)


class Filed(Event, topic="bias.filed", id="claim_id"):
    claim_id: EventId
    policy_id: EventId | None = None
    value: int | None = None


def domain_of(*facets: Facet, features: list[str] = FEATURES) -> Domain:
    return Domain(
        name="bias", currency="USD", claim=Filed, split_by=Entity("policy", key="policy_id"),
        features=tuple(number(name, "value") for name in features), facets=facets,
    )  # fmt: skip


LARGE = Facet("large", feature="claim.amount", least=0.5)
LOW = Facet("low", feature="noise.a", below=0)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return write_history(tmp_path_factory.mktemp("history") / "offline")


@pytest.fixture(scope="module")
def ran(history: History, tmp_path_factory) -> tuple[TrainingRun, TrainingReport]:
    """A run that also compares mitigations."""
    runs: list[TrainingRun] = []
    names = [name for name, _ in STEPS]
    at = names.index("bias") + 1
    steps = (*STEPS[:at], MITIGATE, *STEPS[at:], ("look", runs.append))
    registry = FolderRegistry(tmp_path_factory.mktemp("models") / "models")
    report = train(history.store, registry, SETTINGS, at_ms=history.end_ms, steps=steps,
                   domain=domain_of(LARGE, LOW))  # fmt: skip
    return runs[0], report


def test_outcomes_are_those_at_the_threshold_for_refer_never_at_a_half(ran):
    run, report = ran
    rows, threshold = run.panel.rows, run.thresholds["refer"].value
    referred = np.round(run.probabilities[rows], 9) >= threshold
    assert report.bias.threshold == threshold
    inside = run.dataset.matrix[rows, 0] >= 0.5
    table = count_table(inside.astype(np.int64), None, run.dataset.labels[rows], referred)
    (found, low) = report.bias.facets
    for code in ("DPPL", "DI", "RD", "HRR", "AD", "GE"):
        expected = float(METRICS[code].of(Cells(table)))
        assert found.measure(code).value == pytest.approx(expected, abs=1e-9), code
    group = found.group
    assert group.legit_referred + group.fraud_referred + group.unknown_referred == np.sum(
        referred & inside
    )
    assert 0 < np.sum(referred) < len(rows) / 2
    assert found.group.learned + found.others.learned == len(run.split.train)
    assert low.measure("RR").low < 1 < low.measure("RR").high


def test_a_facet_that_the_model_leans_on_is_beyond_the_limit_and_noise_is_not(ran):
    _, report = ran
    gate = report.bias.gate
    assert gate.state == "failed"
    assert "large: " in gate.words
    assert "low: " not in gate.words
    titles = [table.title for table in tables_of(report)]
    assert "Bias of what is referred" in titles
    assert msgspec.json.decode(msgspec.json.encode(report), type=TrainingReport) == report


def test_mitigations_are_compared_at_one_capacity_and_none_is_published(ran, history, tmp_path):
    run, report = ran
    found = {(one.facet, one.name): one for one in report.bias.mitigations}
    names = {name for facet, name in found if facet == "large"}
    assert {"as judged", "SMOTE of frauds", "reweighing", "balanced draw", "without facet"} <= names
    base, without = found["large", "as judged"], found["large", "without facet"]
    assert base.average_precision == run.evaluation.average_precision.value
    assert base.precision == run.evaluation.precision.value
    assert without.words == "without claim.amount"
    assert without.average_precision < base.average_precision
    shift = [abs(each.measures[0].value) for each in (base, without)]
    assert shift[1] < shift[0] / 2  # without the amount, large claims are referred like others
    smote = found["large", "SMOTE of frauds"]
    assert smote.claims > base.claims == len(run.split.train)
    table = next(t for t in tables_of(report) if t.title == "Mitigations, large: none is published")
    assert table.header[:5] == ["learned from", "AP", "AUC", "prec.", "found"]
    plain = FolderRegistry(tmp_path / "models")
    alone = train(history.store, plain, SETTINGS, at_ms=history.end_ms)
    trees = [
        registry.load(1).manifest.model_digest for registry in (plain, run.registry)
    ]  # the manifests differ: one has the bias among its gates
    assert trees[0] == trees[1]
    assert alone.bias.facets == []
    assert alone.bias.gate.state == "not evaluable"


def test_a_facet_that_stored_claims_cannot_tell_is_noted(history: History, tmp_path: Path) -> None:
    later = domain_of(Facet("new", feature="newer"), LOW, features=[*FEATURES, "newer"])
    report = train(history.store, FolderRegistry(tmp_path / "models"), SETTINGS,
                   at_ms=history.end_ms, domain=later)  # fmt: skip
    assert [each.facet for each in report.bias.facets] == ["low"]
    assert "facet new: the stored claims have no feature newer" in report.notes


def test_a_wrong_limit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    wrong = TrainingSettings(bias_limits={"DII": 0.8})
    settings = msgspec.structs.replace(SETTINGS, training=wrong)
    with pytest.raises(ConfigError, match="did you mean DI"):
        train(None, FolderRegistry(tmp_path / "models"), settings, at_ms=0)  # type: ignore[arg-type]
