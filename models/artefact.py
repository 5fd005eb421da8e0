"""Model artefacts: XGBoost's JSON and a manifest that describes the model and proves its bytes.

    NAME/000001/manifest.json    its SHA-256 is the version's digest
    NAME/000001/model.json       its SHA-256 is recorded in the manifest
    NAME/000001/report.html      an attachment, for people; its SHA-256 is recorded there too

The digests are verified before anything is parsed; nothing is ever unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
"""Size limit of each file, manifest and model. 200 trees of depth 6 are 1 MB of JSON."""

MANIFEST_FILE: Final = "manifest.json"
MODEL_FILE: Final = "model.json"

_DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_ATTACHMENTS: Final = 16

_NAME = re.compile(r"[a-z0-9](?!.*\.\.)[a-z0-9._-]{0,63}")


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest calibrated probabilities at which a claim is referred or reviewed.

    They satisfy `0 <= review <= refer <= 1`.
    """

    refer: float
    review: float


class Draft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of a trained model before the registry assigns a version number.

    Attributes:
        created_at_ms: time of the training, in ms.
        domain: name of the module whose definitions the model was trained under.
        definitions: digest of those definitions.
        features: feature names in the column order of the matrix.
        calibration: curve from margin to probability.
        thresholds: scores for `refer` and `review`.
        capacity_per_day: investigations a day that the `refer` threshold was chosen for.
        reference: drift reference, JSON whose format `monitoring` owns.
        baselines: percentile grid of each feature, from `baselines.build_baselines`.
        metrics: results of the evaluation.
        lineage: query, table versions, counts, time range, parameters, seed, library versions.
        feature_digests: the digest of each feature in `features`, by name, under the definitions of
            the training. Unset in manifests from before there were such digests, whose bytes stay
            as they were: they fit the whole digest of definitions only (`models.fit`).
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
    feature_digests: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class Manifest(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft with the model's name, its version number, and the digest and size of its JSON.

    `attachments` has the digest of each further file; it is left out of the JSON without any, so
    that manifests have the bytes they had before there were attachments.
    """

    name: str
    version: int
    model_digest: str
    model_bytes: int
    attachments: dict[str, str] | msgspec.UnsetType = msgspec.UNSET

    @property
    def attached(self) -> dict[str, str]:
        """The digest of each attachment by its name; empty without any."""
        return {} if isinstance(self.attachments, msgspec.UnsetType) else self.attachments


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model version read from the registry, with both digests verified."""

    ref: ModelRef
    manifest: Manifest
    model_json: bytes


def write_manifest(
    draft: Draft,
    name: str,
    version: int,
    model_json: bytes,
    attachments: Mapping[str, bytes] | None = None,
) -> tuple[bytes, str]:
    """Encode manifest.json; returns its bytes and their digest.

    The bytes are checked with `read_artefact`, so a version that could not be loaded is never
    written.

    Args:
        attachments: further files of the version by their names.

    Raises:
        ModelError: the manifest, the model or an attachment would be refused on loading.
    """
    for file, attached in (attachments or {}).items():
        if len(attached) > MAX_BYTES:
            raise ModelError(f"larger than {MAX_BYTES >> 20} MiB", where=file)
    fields = {field: getattr(draft, field) for field in Draft.__struct_fields__}
    manifest = Manifest(
        **fields,
        name=name,
        version=version,
        model_digest=digest(model_json),
        model_bytes=len(model_json),
        attachments={file: digest(attached) for file, attached in attachments.items()}
        if attachments
        else msgspec.UNSET,
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
    """Verify the bytes of a version against its reference, then parse and check the manifest.

    Args:
        where: path or name for error messages; `NAME/VERSION` when empty.

    Raises:
        ModelError: a digest differs, a file is too large or damaged, or the manifest belongs to
            another name, version or feature list.
    """
    where = where or f"{ref.name}/{ref.version:06d}"
    for content, file in ((manifest_json, MANIFEST_FILE), (model_json, MODEL_FILE)):
        if len(content) > MAX_BYTES:
            raise ModelError(f"larger than {MAX_BYTES >> 20} MiB", where=f"{where}/{file}")
    # The digest is checked before parsing: a file that was tampered with never reaches a parser.
    _verify_digest(manifest_json, ref.digest, f"{where}/{MANIFEST_FILE}")
    try:
        manifest = msgspec.json.decode(manifest_json, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a manifest: {error}", where=f"{where}/{MANIFEST_FILE}") from error
    _verify_digest(model_json, manifest.model_digest, f"{where}/{MODEL_FILE}")
    if (manifest.name, manifest.version) != (ref.name, ref.version):
        raise ModelError(
            f"the manifest belongs to {manifest.name} {manifest.version}",
            where=where,
            hint="a version's folder must not be renamed; restore the folder from a copy",
        )
    _check_manifest(manifest, f"{where}/{MANIFEST_FILE}")
    _check_features(manifest.features, model_json, f"{where}/{MODEL_FILE}")
    return Artefact(ref, manifest, model_json)


def check_attachment(manifest: Manifest, name: str, content: bytes, where: str) -> None:
    """Check the bytes of an attachment against the digest in the manifest.

    Raises:
        ModelError: the version has no such attachment, or it was changed.
    """
    expected = manifest.attached.get(name)
    if expected is None:
        raise no_attachment(manifest, name)
    _verify_digest(content, expected, where)


def no_attachment(manifest: Manifest, name: str) -> ModelError:
    """Return the error for an attachment that a version doesn't have."""
    return ModelError(
        f"version {manifest.version} has no {name[:80]}",
        where=f"{manifest.name}/{manifest.version:06d}",
        hint="only versions whose training made it have it",
    )


def check_name(name: str, what: str) -> None:
    """Check that the name of a model or alias is safe as a folder name.

    Args:
        what: the kind of name, for the error message.

    Raises:
        ModelError: the name holds other characters, is too long, or contains `..`.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{what} {name[:80]!r} isn't a valid name",
            hint="use a-z, 0-9 and . _ - ; at most 64 characters",
        )


def _verify_digest(content: bytes, expected: str, where: str) -> None:
    found = digest(content)
    if found != expected:
        raise ModelError(
            f"the digest is {found[:12]}.., not {expected[:12]}..",
            where=where,
            hint="the file was changed after it was published; restore it from a copy",
        )


def _check_manifest(manifest: Manifest, where: str) -> None:
    check_name(manifest.name, "model")
    for name in manifest.attached:
        check_name(name, "attachment")
    if len(manifest.attached) > MAX_ATTACHMENTS or {MANIFEST_FILE, MODEL_FILE} & set(
        manifest.attached
    ):
        raise ModelError("too many attachments, or one named as the manifest or model", where=where)
    if manifest.schema_version != 1:
        raise ModelError(f"schema version {manifest.schema_version}, not 1", where=where)
    if manifest.version < 1:
        raise ModelError(f"version {manifest.version} is below 1", where=where)
    if not 0.0 <= manifest.thresholds.review <= manifest.thresholds.refer <= 1.0:
        raise ModelError(
            f"thresholds refer {manifest.thresholds.refer}, review {manifest.thresholds.review}",
            where=where,
            hint="thresholds must satisfy 0 <= review <= refer <= 1",
        )
    if not 0.0 < manifest.capacity_per_day < float("inf"):
        raise ModelError(
            f"capacity_per_day is {manifest.capacity_per_day}, not positive and finite", where=where
        )
    names = manifest.features
    if not 1 <= len(names) <= MAX_FEATURES or len(set(names)) != len(names) or "" in names:
        raise ModelError(
            f"{len(names)} feature names, some of them empty, repeated, or too many", where=where
        )
    manifest.calibration.check(where)
    digests = manifest.feature_digests
    if digests is not msgspec.UNSET and (
        digests.keys() != set(names) or not all(map(_DIGEST.fullmatch, digests.values()))
    ):
        raise ModelError("the feature digests aren't those of the features", where=where)
    for name, grid in manifest.baselines.items():
        values = np.array(grid, np.float64)
        sound = len(grid) <= GRID and np.isfinite(values).all() and (np.diff(values) >= 0).all()
        if name not in names or not sound:
            raise ModelError(
                f"the baseline of {name} isn't a rising grid of a known feature", where=where
            )


class _LearnerModelParam(msgspec.Struct):
    num_feature: str


class _Learner(msgspec.Struct):
    learner_model_param: _LearnerModelParam
    feature_names: list[str] = []


class _ModelHead(msgspec.Struct):
    learner: _Learner


def _check_features(features: list[str], model_json: bytes, where: str) -> None:
    """Check the manifest's feature names against the model's own names and their order.

    A model that was fitted without names is checked by the number of features alone.
    """
    try:
        learner = msgspec.json.decode(model_json, type=_ModelHead).learner
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a model in XGBoost's JSON: {error}", where=where) from error
    count = learner.learner_model_param.num_feature
    if count != str(len(features)):
        raise ModelError(f"{count} features, the manifest has {len(features)}", where=where)
    if not learner.feature_names:
        return
    for index, (own, expected) in enumerate(zip(learner.feature_names, features, strict=False)):
        if own != expected:
            raise ModelError(
                f"feature {index} is {own!r}, the manifest has {expected!r}",
                where=where,
                hint="train and publish with the feature names of the definitions, in their order",
            )
    if len(learner.feature_names) != len(features):
        raise ModelError(f"{len(learner.feature_names)} feature names", where=where)
