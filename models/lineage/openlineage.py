"""The lineage of models as events of OpenLineage, version 2-0-2 of its specification.

Each training and each act of the approvals log is a run with the events START and COMPLETE; the
tables of the offline store, versions and aliases are its data sets. The specification has no facet
for models, so theirs is one of ours, `claimtrace_model`, named by its rules for such facets.

Source: https://openlineage.io/spec/2-0-2/OpenLineage.json and the facets that are named below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from claimtrace.decisions import ModelRef
from claimtrace.ids import digest

from ..artefact import Manifest
from ..registry.approvals_log import Entry

SPEC: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
FACETS: Final = "https://openlineage.io/spec/facets/"
PRODUCER: Final = "https://pypi.org/project/claimtrace/"

Event = dict[str, Any]


def openlineage_events(
    versions: Sequence[tuple[ModelRef, Manifest]],
    entries: Sequence[Entry],
    *,
    name: str,
    store: str,
    registry: str,
    release: str,
) -> list[Event]:
    """Return the events of some versions and of the acts about them, in the order of time.

    Args:
        versions: reference and manifest of each version.
        entries: the approvals log; acts about other versions are left out.
        name: of the model; jobs are called for it.
        store: namespace of the offline store's tables, such as `s3://bucket/offline`.
        registry: namespace of the registry, such as `file:/models`.
        release: of claimtrace.
    """
    makers = _Events(name, store, registry, release)
    timed: list[tuple[int, int, list[Event]]] = []
    known = {ref.version: ref for ref, _ in versions}
    for ref, manifest in versions:
        timed.append((manifest.created_at_ms, 0, makers.training(ref, manifest)))
    timed += [
        (entry.at_ms, entry.number, makers.act(entry, known[entry.version]))
        for entry in entries
        if entry.act != "published" and entry.version in known
    ]
    return [event for _, _, events in sorted(timed, key=lambda each: each[:2]) for event in events]


def as_lines(events: Sequence[Event]) -> bytes:
    """Encode events as JSON, one a line, as OpenLineage's file transport writes them."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def run_id(*parts: str) -> str:
    """Return a UUID of version 8 (RFC 9562, section 5.8) over the SHA-256 of some texts.

    >>> run_id("training", "ab")
    '1333c721-0dd0-839f-bec0-a17c36c870d8'
    """
    found = digest("\n".join(parts).encode())
    variant = "89ab"[int(found[16], 16) & 3]
    return f"{found[:8]}-{found[8:12]}-8{found[13:16]}-{variant}{found[17:20]}-{found[20:32]}"


class _Events:
    def __init__(self, name: str, store: str, registry: str, release: str) -> None:
        self._name, self._store = name, store
        self._registry, self._release = registry, release

    def training(self, ref: ModelRef, manifest: Manifest) -> list[Event]:
        """Return the events of the run that made a version."""
        dataset = manifest.lineage.get("dataset")
        dataset = dataset if isinstance(dataset, dict) else {}
        tables = dataset.get("tables")
        inputs = [
            self._table(str(table), str(version), dataset)
            for table, version in (tables.items() if isinstance(tables, dict) else ())
        ]
        params = {
            "definitions": manifest.definitions,
            "params": manifest.lineage.get("params", {}),
            "dataset_query_digest": dataset.get("query_digest", ""),
        }
        facets = {"claimtrace_training": _own(params)}
        output = self._version(ref)
        output["facets"]["claimtrace_model"] = _own(
            {"modelDigest": manifest.model_digest, "features": manifest.features,
             "referFrom": manifest.thresholds.refer}
        )  # fmt: skip
        return self._run("train", "TRAINING", manifest.created_at_ms, ref.digest, facets, inputs,
                         [output])  # fmt: skip

    def act(self, entry: Entry, ref: ModelRef) -> list[Event]:
        """Return the events of one act about a version."""
        told = {"actor": entry.actor, "reason": entry.reason, "number": entry.number}
        facets = {"claimtrace_act": _own(told)}
        outputs = []
        if entry.alias:
            outputs.append(self._dataset(self._registry, f"{self._name}/{entry.alias}",
                                         str(ref.version)))  # fmt: skip
        return self._run(entry.act, "APPROVAL", entry.at_ms, f"{entry.number} {ref.digest}",
                         facets, [self._version(ref)], outputs)  # fmt: skip

    def _run(
        self, verb: str, job_type: str, at_ms: int, of: str, facets: Event, inputs: list[Event],
        outputs: list[Event],
    ) -> list[Event]:  # fmt: skip
        engine = {"version": self._release, "name": "claimtrace"}
        kind = {"processingType": "BATCH", "integration": "CLAIMTRACE", "jobType": job_type}
        shared = {
            "eventTime": f"{np.datetime64(at_ms, 'ms')}Z",
            "run": {
                "runId": run_id(self._name, verb, of),
                "facets": {
                    "processing_engine": _facet("1-1-0/ProcessingEngineRunFacet", engine), **facets
                },
            },
            "job": {
                "namespace": self._registry,
                "name": f"{self._name}.{verb}",
                "facets": {"jobType": _facet("2-0-4/JobTypeJobFacet", kind)},
            },
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}RunEvent",
        }  # fmt: skip
        return [
            {"eventType": "START", **shared, "inputs": inputs, "outputs": []},
            {"eventType": "COMPLETE", **shared, "inputs": inputs, "outputs": outputs},
        ]

    def _table(self, table: str, version: str, dataset: Event) -> Event:
        found = self._dataset(self._store, table, version)
        claims = dataset.get("claims")
        if table == "decisions" and isinstance(claims, int):
            counted = {"rowCount": claims, "columnMetrics": {}}
            found["inputFacets"] = {
                "dataQualityMetrics": _facet("1-0-2/DataQualityMetricsInputDatasetFacet", counted)
            }
        return found

    def _version(self, ref: ModelRef) -> Event:
        return self._dataset(self._registry, f"{self._name}/{ref.version:06d}", ref.digest)

    def _dataset(self, namespace: str, name: str, version: str) -> Event:
        facet = _facet("1-0-0/DatasetVersionDatasetFacet", {"datasetVersion": version})
        return {"namespace": namespace, "name": name, "facets": {"version": facet}}


def _own(values: Event) -> Event:
    """Return a facet that isn't OpenLineage's: any values, on the base of all facets."""
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}BaseFacet", **values}


def _facet(schema: str, values: Event) -> Event:
    name = schema.rpartition("/")[2]
    url = f"{FACETS}{schema}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **values}
