"""Events have the shape that OpenLineage 2-0-2 asks for, by its rules written down here."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from models.lineage.openlineage import as_lines, openlineage_events
from tests.models.lineage.test_graph import LOG, ONE, OTHER, TWO

EVENT_TYPES = {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
URI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s]+")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
FACETS: dict[str, tuple[str, dict[str, type | tuple[type, ...]]]] = {
    "version": ("DatasetVersionDatasetFacet", {"datasetVersion": str}),
    "jobType": ("JobTypeJobFacet", {"processingType": str, "integration": str}),
    "processing_engine": ("ProcessingEngineRunFacet", {"version": str}),
    "dataQualityMetrics": (
        "DataQualityMetricsInputDatasetFacet", {"rowCount": int, "columnMetrics": dict}
    ),
}  # fmt: skip
"""Facets of the specification: the schema, and the fields that must be there, by their type."""
NAMED = {"store": "s3://bucket/offline", "registry": "file:///models", "release": "0.2.0"}


def problems(event: Any) -> list[str]:
    """What OpenLineage's schema would refuse in an event."""
    found: list[str] = []

    def need(thing: Any, name: str, kind: type, of: str) -> Any:
        value = thing.get(name) if isinstance(thing, dict) else None
        if not isinstance(value, kind):
            found.append(f"{of}.{name} isn't {kind.__name__}")
            return kind()
        return value

    def facets(thing: Any, name: str, of: str) -> None:
        if name not in thing:
            return
        for key, facet in need(thing, name, dict, of).items():
            at = f"{of}.{name}.{key}"
            found.extend(
                f"{at}.{field} is no URI"
                for field in ("_producer", "_schemaURL")
                if not URI.fullmatch(need(facet, field, str, at))
            )
            known = FACETS.get(key)
            if known is None:
                if not re.fullmatch(r"claimtrace_[a-z]+", key):
                    found.append(f"{at} is neither a facet of the specification nor named as ours")
                continue
            url = rf"https://openlineage\.io/spec/facets/\d+-\d+-\d+/{known[0]}\.json#/\$defs/"
            if not re.fullmatch(url + known[0], facet.get("_schemaURL", "")):
                found.append(f"{at}._schemaURL")
            for field, kind in known[1].items():
                need(facet, field, kind, at)  # type: ignore[arg-type]

    for name in ("eventTime", "producer", "schemaURL"):
        need(event, name, str, "event")
    try:
        if datetime.fromisoformat(event["eventTime"]).tzinfo is None:
            found.append("event.eventTime has no zone")
    except (KeyError, TypeError, ValueError):
        found.append("event.eventTime is no time")
    if event.get("eventType") not in EVENT_TYPES:
        found.append("event.eventType")
    if (
        event.get("schemaURL")
        != "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    ):
        found.append("event.schemaURL")
    run, job = need(event, "run", dict, "event"), need(event, "job", dict, "event")
    if not UUID.fullmatch(need(run, "runId", str, "run")):
        found.append("run.runId is no UUID")
    facets(run, "facets", "run")
    facets(job, "facets", "job")
    for name in ("namespace", "name"):
        need(job, name, str, "job")
    for side, special in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for dataset in need(event, side, list, "event"):
            for name in ("namespace", "name"):
                need(dataset, name, str, side)
            facets(dataset, "facets", side)
            facets(dataset, special, side)
    return found


EVENTS = openlineage_events([ONE, TWO, OTHER], LOG, name="claims", **NAMED)


def test_every_event_is_one_that_openlineage_takes() -> None:
    lines = as_lines(EVENTS).splitlines()
    assert len(lines) == len(EVENTS) == 2 * (3 + 3)  # three versions; two moves and a rejection
    assert [problems(json.loads(line)) for line in lines] == [[]] * len(lines)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("eventTime",), "2026-01-01 12:00"), (("eventType",), "DONE"), (("run", "runId"), "1"),
        (("producer",), None), (("job", "name"), 3), (("schemaURL",), "https://x"),
        (("run", "facets", "processing_engine", "version"), 3),
        (("run", "facets", "spark"), {"_producer": "a:b", "_schemaURL": "a:b"}),
        (("inputs", 0, "facets", "version", "_producer"), "nowhere"),
        (("inputs", 0, "namespace"), None), (("outputs",), None),
    ],
)  # fmt: skip
def test_the_rules_here_find_what_is_wrong(path: tuple[Any, ...], value: Any) -> None:
    event = json.loads(as_lines(EVENTS).splitlines()[0])
    assert problems(event) == []
    at = event
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert problems(event)


def test_each_run_starts_and_completes_and_has_an_id_of_its_own() -> None:
    runs: dict[str, list[str]] = {}
    for event in EVENTS:
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert list(runs.values()) == [["START", "COMPLETE"]] * 6
    assert openlineage_events([ONE, TWO, OTHER], LOG, name="claims", **NAMED) == EVENTS


def test_data_leads_to_versions_and_versions_to_the_alias() -> None:
    done = [event for event in EVENTS if event["eventType"] == "COMPLETE"]
    trained = next(event for event in done if event["job"]["name"] == "claims.train")
    assert [(d["namespace"], d["name"]) for d in trained["inputs"]] == [
        ("s3://bucket/offline", "decisions")
    ]
    assert trained["inputs"][0]["inputFacets"]["dataQualityMetrics"]["rowCount"] == 9
    outputs = {d["name"] for event in done for d in event["outputs"]}
    assert outputs == {"claims/000001", "claims/000002", "claims/000003", "claims/champion"}
    moved = [event for event in done if event["job"]["name"] == "claims.moved"]
    assert [event["inputs"][0]["name"] for event in moved] == ["claims/000001", "claims/000002"]
    assert moved[0]["run"]["facets"]["claimtrace_act"]["actor"] == "ann"


def test_acts_about_other_versions_are_left_out() -> None:
    jobs = [e["job"]["name"] for e in openlineage_events([ONE], LOG, name="claims", **NAMED)]
    assert jobs == ["claims.moved"] * 2 + ["claims.train"] * 2
