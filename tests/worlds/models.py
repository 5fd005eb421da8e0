"""Small models over a domain's own features, for runs of the whole stream."""

from __future__ import annotations

import json
from functools import cache

import msgspec
import numpy as np

from claimtrace.decisions import ModelRef
from claimtrace_examples.auto_claims import DOMAIN
from models.artefact import Draft, Thresholds, read_artefact, write_manifest
from models.scorer import Scorer
from monitoring.windows.reference import build_reference
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster, some_rows


@cache
def a_model(version: int) -> tuple[Draft, bytes]:
    """Make a model of the claims domain for publication; it refers about one claim in five."""
    names = DOMAIN.feature_names
    _, document = booster(len(names), trees=6, depth=3, seed=version)
    parsed = json.loads(document)
    parsed["learner"]["feature_names"] = names
    rows = some_rows(np.random.default_rng(version), 400, len(names))
    rows[np.isinf(rows)] = np.nan
    scores = np.random.default_rng(version).random(400)
    reference = build_reference(names, rows, scores, scores > 0.5, refer_threshold=0.5)
    made = draft(
        len(names), features=names, definitions=DOMAIN.definitions_digest,
        thresholds=Thresholds(refer=0.35, review=0.2), baselines={},
        reference=msgspec.Raw(msgspec.json.encode(reference)),
    )  # fmt: skip
    return made, json.dumps(parsed).encode()


@cache
def a_scorer(version: int) -> Scorer:
    """Load the model."""
    made, document = a_model(version)
    content, digest = write_manifest(made, "claims", version, document)
    artefact = read_artefact(content, document, ModelRef("claims", version, digest))
    return Scorer.load(artefact, self_check=False)


def scorer_of(ref: ModelRef) -> Scorer:
    """Return the model of a reference, as the registry would load it."""
    scorer = a_scorer(ref.version)
    assert scorer.ref == ref
    return scorer
