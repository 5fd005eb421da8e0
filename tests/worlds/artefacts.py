"""Small, complete drafts and artefacts of models for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from claimtrace.decisions import ModelRef
from models.artefact import Artefact, Draft, Thresholds, read_artefact, write_manifest
from models.calibration import Calibration

CURVE = Calibration([-6.0, 0.0, 6.0], [0.01, 0.4, 0.99])


def draft(width: int = 6, **changes: Any) -> Draft:
    """Make a sound draft for a booster of `boosters.booster`."""
    fields: dict[str, Any] = {
        "created_at_ms": 1_700_000_000_000,
        "domain": "claimtrace_examples.auto_claims",
        "definitions": "d" * 64,
        "features": [f"f{number}" for number in range(width)],
        "calibration": CURVE,
        "thresholds": Thresholds(refer=0.6, review=0.3),
        "capacity_per_day": 40.0,
        "reference": msgspec.Raw(b'{"bins":[1,2]}'),
        "baselines": {"f0": [0.0, 0.5, 1.0]},
        "metrics": {"average_precision": 0.31},
        "lineage": {"rows": 1500, "seed": 7},
    }
    return Draft(**{**fields, **changes})


def artefact_of(model_json: bytes, features: int = 6, **changes: Any) -> Artefact:
    """Make the artefact of a model as version 1."""
    content, digest = write_manifest(draft(features, **changes), "claims", 1, model_json)
    return read_artefact(content, model_json, ModelRef("claims", 1, digest))
