"""The champion by the digests of its features: it serves on, or the log names what has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from claimtrace.errors import ConfigError
from claimtrace_examples.auto_claims import DOMAIN
from cli.commands.start import doctor
from cli.wiring.champion import Champion
from cli.wiring.workspace import Workspace
from featurestore.fields.feature_digests import feature_digests
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster, edited

NAMES = DOMAIN.feature_names[40:28:-2]
"""Six features of the model, in another order than in the definitions."""
DIGESTS = {name: each for name, each in feature_digests(DOMAIN).items() if name in NAMES}


def publish(workspace: Workspace, **changes: Any) -> int:
    """Publish a model of other definitions than those of the domain, and make it champion."""
    document = edited(booster()[1], lambda parsed: parsed["learner"].update(feature_names=NAMES))
    made = draft(**{"features": NAMES, "baselines": {}, "feature_digests": DIGESTS, **changes})
    acted = {"actor": "ann", "reason": "why", "at_ms": 1}
    ref = workspace.registry.publish(made, document, **acted)
    workspace.registry.move_alias("champion", ref.version, **acted)
    return ref.version


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(None, tmp_path)


def test_a_model_of_older_definitions_is_used_if_its_features_are_there(
    workspace: Workspace,
) -> None:
    told: list[str] = []
    champion = Champion(workspace, told.append)
    publish(workspace)
    ref = champion()
    assert ref is not None
    assert (ref.version, told) == (1, [])
    assert workspace.scorer_of(ref).taking(DOMAIN.feature_names).columns is not None
    assert "champion auto_claims/1" in doctor._models(workspace)


def test_one_with_a_changed_feature_is_not_and_the_features_are_named(workspace: Workspace) -> None:
    told: list[str] = []
    champion = Champion(workspace, told.append)
    publish(workspace)
    first = champion()
    publish(workspace, feature_digests={**DIGESTS, NAMES[2]: "0" * 64})
    assert champion() == first
    assert told == [f"model auto_claims/2 isn't used: {NAMES[2]} changed"]
    with pytest.raises(ConfigError, match=NAMES[2]):
        doctor._models(workspace)


def test_one_with_a_feature_that_is_gone_ends_no_worker(workspace: Workspace) -> None:
    told: list[str] = []
    gone = ["gone", *NAMES[1:]]
    document = edited(booster()[1], lambda parsed: parsed["learner"].update(feature_names=gone))
    digests = {"gone": "0" * 64, **{name: DIGESTS[name] for name in NAMES[1:]}}
    acted = {"actor": "ann", "reason": "why", "at_ms": 1}
    made = draft(features=gone, baselines={}, feature_digests=digests)
    ref = workspace.registry.publish(made, document, **acted)
    workspace.registry.move_alias("champion", ref.version, **acted)
    assert Champion(workspace, told.append)() is None
    assert told == ["model auto_claims/1 isn't used: gone is no longer defined"]
    workspace.warm_up()


def test_a_manifest_from_before_fits_only_its_whole_definitions(workspace: Workspace) -> None:
    told: list[str] = []
    publish(workspace, feature_digests=msgspec.UNSET)
    assert Champion(workspace, told.append)() is None
    assert "trained under other definitions" in told[0]
