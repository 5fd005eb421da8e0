"""Artefacts: digests before parsing, and manifests that are refused."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import msgspec
import numpy as np
import pytest

from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError
from claimtrace.ids import digest
from models import artefact as module
from models import baselines
from models.artefact import Thresholds, check_name, read_artefact, write_manifest
from models.calibration import Calibration
from tests.worlds.artefacts import artefact_of, draft
from tests.worlds.boosters import booster, edited

_, MODEL = booster()


def parts(**changes: Any) -> tuple[bytes, ModelRef]:
    content, manifest_digest = write_manifest(draft(**changes), "claims", 1, MODEL)
    return content, ModelRef("claims", 1, manifest_digest)


def resealed(content: bytes, **changes: Any) -> tuple[bytes, ModelRef]:
    """Edit a manifest and give it a matching digest, as a forger would."""
    edited_json = msgspec.json.encode({**msgspec.json.decode(content), **changes})
    return edited_json, ModelRef("claims", 1, digest(edited_json))


def test_what_is_written_is_read() -> None:
    artefact = artefact_of(MODEL)
    assert artefact.manifest.features == draft().features
    assert artefact.manifest.model_digest == digest(MODEL)
    assert artefact.manifest.model_bytes == len(MODEL)
    assert bytes(artefact.manifest.reference) == b'{"bins":[1,2]}'
    assert artefact.manifest.lineage == {"rows": 1500, "seed": 7}


def test_the_same_draft_gives_the_same_bytes() -> None:
    assert parts() == parts()


def test_a_changed_byte_is_found_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    content, ref = parts()
    monkeypatch.setattr(msgspec.json, "decode", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ModelError, match="digest") as caught:
        read_artefact(content.replace(b"0.6", b"0.1"), MODEL, ref)
    assert caught.value.where == "claims/000001/manifest.json"


def test_a_changed_byte_of_the_model_is_found() -> None:
    content, ref = parts()
    mutated = bytearray(MODEL)
    mutated[len(mutated) // 2] ^= 1
    with pytest.raises(ModelError, match="digest") as caught:
        read_artefact(content, bytes(mutated), ref)
    assert caught.value.where == "claims/000001/model.json"
    assert "restore" in caught.value.hint


def test_a_pickle_is_never_opened() -> None:
    evil = pickle.dumps(print)
    for content in (evil, b"", b'{"domain":"\x80"}', b"[" * 99_999):
        with pytest.raises(ModelError, match="not a manifest"):
            read_artefact(content, MODEL, ModelRef("claims", 1, digest(content)))
    with pytest.raises(ModelError, match="not a model"):
        write_manifest(draft(), "claims", 1, evil)


def test_large_files_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    content, ref = parts()
    monkeypatch.setattr(module, "MAX_BYTES", len(content))
    with pytest.raises(ModelError, match="larger"):
        read_artefact(content, MODEL, ref)


@pytest.mark.parametrize(("name", "version"), [("claims", 2), ("cards", 1)])
def test_a_renamed_folder_is_found(name: str, version: int) -> None:
    content, ref = parts()
    with pytest.raises(ModelError, match="the manifest belongs to claims 1"):
        read_artefact(content, MODEL, ModelRef(name, version, ref.digest))


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"schema_version": 2},
        {"thresholds": {"refer": 0.2, "review": 0.4}},
        {"thresholds": {"refer": 1.2, "review": 0.4}},
        {"thresholds": {"refer": 0.5}},
        {"capacity_per_day": 0},
        {"features": []},
        {"features": ["f0"] * 6},
        {"features": ["f0", "f1", "f2", "f3", "f4"]},
        {"features": ["f0", "f1", "f2", "f3", "f5", "f4"]},
        {"features": "f0"},
        {"calibration": {"knot_margins": [2, 1], "knot_probabilities": [0.1, 0.2]}},
        {"baselines": {"f9": [1.0]}},
        {"baselines": {"f0": [2.0, 1.0]}},
        {"baselines": {"f0": [0.0] * 102}},
        {"created_at_ms": "now"},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    content, ref = resealed(parts()[0], **changes)
    with pytest.raises(ModelError) as caught:
        read_artefact(content, MODEL, ref)
    assert caught.value.where.startswith("claims/000001/")


def test_a_draft_that_would_be_refused_is_not_written() -> None:
    for changes in (
        {"thresholds": Thresholds(refer=0.1, review=0.2)},
        {"calibration": Calibration([], [])},
        {"lineage": {"rows": object()}},
        {"features": ["b", "a", "c", "d", "e", "f"]},
    ):
        with pytest.raises(ModelError):
            write_manifest(draft(**changes), "claims", 1, MODEL)


def test_a_model_without_names_is_held_to_their_number() -> None:
    nameless = edited(MODEL, lambda parsed: parsed["learner"].update(feature_names=[]))
    assert artefact_of(nameless).manifest.features == draft().features
    with pytest.raises(ModelError, match="6 features, the manifest has 5"):
        artefact_of(nameless, features=5)


@pytest.mark.parametrize("name", ["", "..", "a..b", "/a", "a/b", ".a", "A", "a" * 65, "a\n"])
def test_names_are_safe_as_folders(name: str) -> None:
    with pytest.raises(ModelError, match="isn't a valid name"):
        check_name(name, "model")


def test_baselines() -> None:
    assert doctest.testmod(baselines).failed == 0
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(5000, 2))
    matrix[:, 1] = np.nan
    grids = baselines.build_baselines(["a", "b"], matrix)
    assert len(grids["a"]) == 101
    assert grids["b"] == []
    assert baselines.percentile(grids["b"], 1.0) is None
    assert baselines.percentile(grids["a"], float("nan")) is None
    for value in (-9.0, -1.0, 0.0, 1.3, 9.0):
        share = 100 * (matrix[:, 0] < value).mean()
        assert baselines.percentile(grids["a"], value) == pytest.approx(share, abs=1.0)
    zeros = np.array([[0.0]] * 9 + [[-0.0]])
    for column in (zeros, zeros[::-1]):
        grid = baselines.build_baselines(["z"], column)["z"]
        assert str(grid) == str([0.0] * 101)
    assert [baselines.percentile([2.0], value) for value in (1.0, 2.0, 3.0)] == [0.0, 50.0, 100.0]
