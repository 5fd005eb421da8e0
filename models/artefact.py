"""A published model: XGBoost's JSON and a manifest that says what it is and proves its bytes.

    NAME/000001/manifest.json    its SHA-256 is the version's digest
    NAME/000001/model.json       its SHA-256 stands in the manifest

Both are compared before anything is parsed; nothing is ever unpickled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError
from claimtrace.ids import digest

from .baselines import GRID
from .calibration import Calibration
from .kernels.xgboost_json import MAX_FEATURES

MAX_BYTES: Final = 64 * 2**20
"""Of the manifest, and of the model. 200 trees of depth 6 are 1 MB of JSON."""

MANIFEST_FILE: Final = "manifest.json"
MODEL_FILE: Final = "model.json"

_NAME = re.compile(r"[a-z0-9](?!.*\.\.)[a-z0-9._-]{0,63}")


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calibrated probabilities from which a claim is referred, or reviewed; `review <= refer`."""

    refer: float
    review: float


class Draft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training knows of a model before the registry numbers it.

    Attributes:
        created_at_ms: when it was trained.
        domain: the module whose definitions it was trained under.
        definitions: their digest.
        features: names in the order of the matrix.
        calibration: from margin to probability.
        thresholds: for `refer` and `review`.
        capacity_per_day: claims a day that `refer` was set for.
        reference: the drift reference, JSON owned by `monitoring`.
        baselines: percentile grid of each feature, `baselines.build_baselines`.
        metrics: the evaluation.
        lineage: query, table versions, counts, time range, parameters, seed, library versions.
    """

    schema_version: int = 1
    created_at_ms: int
    domain: str
    definitions: str
    features: list[str]
    calibration: Calibration
    thresholds: Thresholds
    capacity_per_day: float
    reference: msgspec.Raw = msgspec.Raw(b"null")
    baselines: dict[str, list[float]] = {}
    metrics: dict[str, Any] = {}
    lineage: dict[str, Any] = {}


class Manifest(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft with its name, its number and the digest of its model."""

    name: str
    version: int
    model_digest: str
    model_bytes: int


@dataclass(frozen=True, slots=True)
class Artefact:
    """A version as read back, its digests proven."""

    ref: ModelRef
    manifest: Manifest
    model_json: bytes


def write_manifest(draft: Draft, name: str, version: int, model_json: bytes) -> tuple[bytes, str]:
    """The bytes of manifest.json and their digest; checked as if they were read back.

    Raises:
        ModelError: what would be refused on reading.
    """
    fields = {field: getattr(draft, field) for field in Draft.__struct_fields__}
    manifest = Manifest(
        **fields,
        name=name,
        version=version,
        model_digest=digest(model_json),
        model_bytes=len(model_json),
    )
    try:
        content = msgspec.json.encode(manifest)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ModelError(f"the manifest can't be written as JSON: {error}", where=name) from error
    read_artefact(content, model_json, ModelRef(name, version, digest(content)))
    return content, digest(content)


def read_artefact(
    manifest_json: bytes, model_json: bytes, ref: ModelRef, where: str = ""
) -> Artefact:
    """Prove the bytes of a version against its reference, then parse and check the manifest.

    Raises:
        ModelError: another digest, too large, damaged, of another name, version or feature schema.
    """
    where = where or f"{ref.name}/{ref.version:06d}"
    for content, file in ((manifest_json, MANIFEST_FILE), (model_json, MODEL_FILE)):
        if len(content) > MAX_BYTES:
            raise ModelError(f"larger than {MAX_BYTES >> 20} MiB", where=f"{where}/{file}")
    _prove(manifest_json, ref.digest, f"{where}/{MANIFEST_FILE}")
    try:
        manifest = msgspec.json.decode(manifest_json, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a manifest: {error}", where=f"{where}/{MANIFEST_FILE}") from error
    _prove(model_json, manifest.model_digest, f"{where}/{MODEL_FILE}")
    if (manifest.name, manifest.version) != (ref.name, ref.version):
        raise ModelError(
            f"the manifest is of {manifest.name} {manifest.version}",
            where=where,
            hint="a version's folder is never renamed; restore it from a copy",
        )
    _check(manifest, f"{where}/{MANIFEST_FILE}")
    _check_features(manifest.features, model_json, f"{where}/{MODEL_FILE}")
    return Artefact(ref, manifest, model_json)


def check_name(name: str, what: str) -> None:
    """See that a model's or alias's name is a safe folder name.

    Raises:
        ModelError: it isn't.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{what} {name[:80]!r} isn't a name", hint="use a-z, 0-9 and . _ - ; at most 64"
        )


def _prove(content: bytes, expected: str, where: str) -> None:
    found = digest(content)
    if found != expected:
        raise ModelError(
            f"the digest is {found[:12]}.., not {expected[:12]}..",
            where=where,
            hint="the file was changed after it was published; restore it from a copy",
        )


def _check(manifest: Manifest, where: str) -> None:
    check_name(manifest.name, "model")
    if manifest.schema_version != 1:
        raise ModelError(f"schema version {manifest.schema_version}, not 1", where=where)
    if manifest.version < 1:
        raise ModelError(f"version {manifest.version} is below 1", where=where)
    if not 0.0 <= manifest.thresholds.review <= manifest.thresholds.refer <= 1.0:
        raise ModelError(
            f"thresholds refer {manifest.thresholds.refer}, review {manifest.thresholds.review}",
            where=where,
            hint="they must hold 0 <= review <= refer <= 1",
        )
    if not 0.0 < manifest.capacity_per_day < float("inf"):
        raise ModelError(f"a capacity of {manifest.capacity_per_day} claims a day", where=where)
    names = manifest.features
    if not 1 <= len(names) <= MAX_FEATURES or len(set(names)) != len(names) or "" in names:
        raise ModelError(f"{len(names)} features, some empty, twice, or too many", where=where)
    manifest.calibration.check(where)
    for name, grid in manifest.baselines.items():
        values = np.array(grid, np.float64)
        sound = len(grid) <= GRID and np.isfinite(values).all() and (np.diff(values) >= 0).all()
        if name not in names or not sound:
            raise ModelError(f"the baseline of {name} isn't the grid of a feature", where=where)


class _Counted(msgspec.Struct):
    num_feature: str


class _Named(msgspec.Struct):
    learner_model_param: _Counted
    feature_names: list[str] = []


class _Model(msgspec.Struct):
    learner: _Named


def _check_features(features: list[str], model_json: bytes, where: str) -> None:
    """The model's own names, in its order, are the manifest's; without names, their number is."""
    try:
        learner = msgspec.json.decode(model_json, type=_Model).learner
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a model in XGBoost's JSON: {error}", where=where) from error
    count = learner.learner_model_param.num_feature
    if count != str(len(features)):
        raise ModelError(f"{count} features, the manifest has {len(features)}", where=where)
    if not learner.feature_names:
        return
    for place, (own, expected) in enumerate(zip(learner.feature_names, features, strict=False)):
        if own != expected:
            raise ModelError(
                f"feature {place} is {own!r}, the manifest says {expected!r}",
                where=where,
                hint="train and publish with the names of the definitions, in their order",
            )
    if len(learner.feature_names) != len(features):
        raise ModelError(f"{len(learner.feature_names)} feature names", where=where)
