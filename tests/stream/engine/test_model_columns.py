"""A model of some of the features, in another order, serves as one of exactly these features."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from claimtrace.decisions import DECISIONS_TOPIC, DRIFT_TOPIC, ModelRef, SealedDecision
from claimtrace_examples.auto_claims import DOMAIN
from models.artefact import Thresholds, read_artefact, write_manifest
from models.scorer import Scorer
from monitoring.windows.reference import build_reference
from stream.adapters.embedded.file_journal import read_plans
from stream.adapters.embedded.log import EmbeddedSource
from stream.proofs.verify import replay
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster, edited, some_rows
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World

NAMES = DOMAIN.feature_names[::-3]
"""Of the model: a third of the features, backwards."""


@cache
def a_scorer() -> Scorer:
    def rename(parsed: dict) -> None:
        parsed["learner"]["feature_names"] = NAMES

    document = edited(booster(len(NAMES), trees=8, depth=3, seed=5)[1], rename)
    rows = some_rows(np.random.default_rng(5), 400, len(NAMES))
    rows[np.isinf(rows)] = np.nan
    scores = np.linspace(0, 1, 400)
    reference = build_reference(NAMES, rows, scores, scores > 0.5, refer_threshold=0.5)
    made = draft(
        len(NAMES), features=NAMES, baselines={NAMES[0]: [0.0, 1.0]}, definitions="e" * 64,
        thresholds=Thresholds(refer=0.05, review=0.01),
        feature_digests=dict.fromkeys(NAMES, "a" * 64),
        reference=msgspec.Raw(msgspec.json.encode(reference)),
    )  # fmt: skip
    content, digest = write_manifest(made, "claims", 1, document)
    return Scorer.load(read_artefact(content, document, ModelRef("claims", 1, digest)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = tmp_path_factory.mktemp("columns")
    made = World(
        folder, partitions=1, scorer_of=lambda _: a_scorer(), champion=a_scorer().ref,
        changes={"drift_min_count": 1},
    )  # fmt: skip
    made.put(as_records(a_stream(23, 150)))
    made.run()
    return made


@pytest.fixture(scope="module")
def decisions(world: World) -> list[SealedDecision]:
    (records,) = world.outputs()[DECISIONS_TOPIC]
    return [msgspec.json.decode(each.value or b"", type=SealedDecision) for each in records]


def test_decisions_hold_the_whole_vector_and_the_score_of_its_part(
    decisions: list[SealedDecision],
) -> None:
    assert len(decisions) > 50
    served = np.array([each.features for each in decisions], np.float64)
    assert served.shape[1] == len(DOMAIN.features)
    places = [DOMAIN.feature_names.index(name) for name in NAMES]
    margins = a_scorer().margins(served[:, places]).astype(np.float64)
    assert [each.margin for each in decisions] == margins.tolist()


def test_reasons_are_of_the_models_features_and_of_their_values(
    decisions: list[SealedDecision],
) -> None:
    reasons = 0
    for decision in decisions:
        for reason in decision.reasons or ():
            reasons += 1
            assert reason.feature in NAMES
            value = decision.features[DOMAIN.feature_names.index(reason.feature)]
            assert reason.value == value
    assert reasons > 50


def test_drift_is_of_the_models_features(world: World) -> None:
    records = world.outputs()[DRIFT_TOPIC][0]
    named = {each["feature"] for record in records
             for each in json.loads(record.value or b"{}")["inputs"]["features"]}  # fmt: skip
    assert named
    assert named <= set(NAMES)


def test_a_replay_gives_the_same_bytes(world: World) -> None:
    outputs = world.outputs()[DECISIONS_TOPIC]
    with world.open_log() as log:
        source = EmbeddedSource(log, DOMAIN.topics, 1)
        plans = read_plans(world.folder / "journal")
        result = replay(world.engine(), plans, source, lambda p: iter(outputs[p]))
    assert (result.decisions, result.differ) == (len(outputs[0]), 0)
