"""The contents of a version in a mirror: figures, settings, digests, files, and decisions.

Everything is taken from the manifest and the approvals log. A mirror finds what it has written
before by the version's digest, so mirroring again changes nothing but states and aliases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError
from claimtrace.ids import digest

from ..artefact import MANIFEST_FILE, MODEL_FILE, Artefact, Manifest
from ..registry.approvals_log import Entry

State = Literal["pending", "approved", "rejected"]
ReportKind = Literal["model quality", "data bias", "model bias", "explainability"]
MAX_METRICS: Final = 500
MAX_PARAMS: Final = 100
MAX_VALUE: Final = 250
"""Most characters of a parameter or property; both mirrors take as many."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report about a version: JSON that says its own kind, so none stands in another's place.

    Attributes:
        kind: what it is about.
        content: a JSON object whose field `kind` is the same.

    Raises:
        ModelError: the content is no JSON object, or says another kind.

    >>> Report("model bias", b'{"kind": "explainability"}')
    Traceback (most recent call last):
    ...
    claimtrace.errors.ModelError: a report of the kind 'explainability' as 'model bias'
    """

    kind: ReportKind
    content: bytes

    def __post_init__(self) -> None:
        try:
            said = msgspec.json.decode(self.content, type=_Kind).kind
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"the report of {self.kind} is no JSON with a kind") from error
        if said != self.kind:
            raise ModelError(f"a report of the kind {said[:40]!r} as {self.kind!r}")


class _Kind(msgspec.Struct):
    kind: str


class Decision(msgspec.Struct, frozen=True):
    """The last decision about a version: its state, by whom and why."""

    state: State
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A version as a mirror shows it.

    Attributes:
        ref: name, number and digest of the version.
        created_at_ms: time of its training.
        metrics: finite figures of the evaluation, by path.
        params: settings of the fit, as texts.
        digests: digests by name: of definitions, trees, data and so on.
        files: manifest and model, by file name.
        reports: by kind, each at most once.
        decision: what was decided about it.
        aliases: the aliases that point to it.
    """

    ref: ModelRef
    created_at_ms: int
    metrics: dict[str, float]
    params: dict[str, str]
    digests: dict[str, str]
    files: dict[str, bytes]
    reports: dict[ReportKind, Report]
    decision: Decision
    aliases: list[str]


def mirrored(
    artefact: Artefact,
    entries: Sequence[Entry],
    aliases: Mapping[str, int],
    reports: Sequence[Report] = (),
) -> Mirrored:
    """Return what a mirror shows of a version.

    Args:
        artefact: the version.
        entries: the approvals log.
        aliases: every alias that is set, and its version.
        reports: more reports than that of the quality, which is made from the manifest.

    Raises:
        ModelError: two reports are of one kind.
    """
    ref, manifest = artefact.ref, artefact.manifest
    files = {MODEL_FILE: artefact.model_json}
    manifest_json = msgspec.json.encode(manifest)
    if digest(manifest_json) == ref.digest:  # else another version of claimtrace wrote the file
        files[MANIFEST_FILE] = manifest_json
    by_kind: dict[ReportKind, Report] = {}
    for report in (quality_report(manifest), *reports):
        if report.kind in by_kind:
            raise ModelError(f"two reports of the kind {report.kind!r}", where=ref.label)
        by_kind[report.kind] = report
    metrics = dict(list(_figures(_part(manifest.metrics, "evaluation")))[:MAX_METRICS])
    params = {**_part(manifest.lineage, "params"), "capacity_per_day": manifest.capacity_per_day}
    return Mirrored(
        ref=ref,
        created_at_ms=manifest.created_at_ms,
        metrics=metrics,
        params={k: str(v)[:MAX_VALUE] for k, v in sorted(params.items())[:MAX_PARAMS]},
        digests=_digests(ref, manifest),
        files=files,
        reports=by_kind,
        decision=decision_about(ref.version, entries),
        aliases=sorted(alias for alias, version in aliases.items() if version == ref.version),
    )


def quality_report(manifest: Manifest) -> Report:
    """Return the figures of the evaluation as a report, in the form of SageMaker's quality metrics.

    Source of the form: Amazon SageMaker Developer Guide, "Model Quality Metrics": figures stand
    under `binary_classification_metrics`, each with a `value`.
    """
    figures = {
        name.removesuffix(".value"): {"value": value}
        for name, value in _figures(_part(manifest.metrics, "evaluation"))
        if not name.endswith((".low", ".high"))
    }
    content = {"kind": "model quality", "binary_classification_metrics": figures}
    return Report("model quality", msgspec.json.encode(content))


def decision_about(version: int, entries: Sequence[Entry]) -> Decision:
    """Return what was decided last about a version.

    A version that an alias was moved to counts as approved until it is rejected.
    """
    decision = Decision("pending")
    for entry in entries:
        if entry.version != version:
            continue
        if entry.act in ("moved", "approved"):
            decision = Decision("approved", entry.actor, entry.reason)
        elif entry.act == "rejected":
            decision = Decision("rejected", entry.actor, entry.reason)
    return decision


def _digests(ref: ModelRef, manifest: Manifest) -> dict[str, str]:
    lineage = manifest.lineage
    found = {
        "digest": ref.digest,
        "model_digest": manifest.model_digest,
        "definitions": manifest.definitions,
        "dataset_query": _part(lineage, "dataset").get("query_digest"),
        "claims": _part(lineage, "split").get("claims_digest"),
        "settings": _part(lineage, "settings").get("digest"),
        "judged_model": _part(lineage, "judged").get("model_digest"),
    }
    return {name: each[:MAX_VALUE] for name, each in found.items() if isinstance(each, str)}


def _figures(thing: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the finite numbers of nested tables, each with its path."""
    for name, value in thing.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict):
            yield from _figures(value, path)
        elif type(value) in (int, float) and math.isfinite(value):
            yield path, float(value)


def _part(thing: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = thing.get(name)
    return found if isinstance(found, dict) else {}
