"""The graph leads up and down over the same edges, whatever a manifest says or lacks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import ModelRef
from claimtrace.ids import digest, digest_of
from models.artefact import Manifest
from models.lineage.graph import Graph, lineage_graph
from models.registry.approvals_log import ApprovalsLog, Entry
from tests.worlds.artefacts import draft

NAME = "claims"


def manifest_of(version: int, **changes: Any) -> tuple[ModelRef, Manifest]:
    made = draft(**{"metrics": {"average_precision": version / 10}, **changes})
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    content = digest(f"{version} {changes}".encode())
    manifest = Manifest(**fields, name=NAME, version=version, model_digest="m", model_bytes=1)
    return ModelRef(NAME, version, content), manifest


def lineage_of(data: str, **more: Any) -> dict[str, Any]:
    return {
        "dataset": {"tables": {"decisions": 4}, "query_digest": data, "claims": 9, "at_ms": 5},
        "split": {"claims_digest": f"c{data}", "rows": {"train": 5, "test": 4, "released": 9}},
        "settings": {"digest": "5e"},
        "params": {"rounds": 30},
        "judged": {"model_digest": f"j{data}", "claims": 5, "rounds": 30},
        "released": {"model_digest": f"r{data}", "claims": 9, "rounds": 30},
        **more,
    }


def acted(*acts: tuple[str, int | None, str | None], evidence: str | None = None) -> list[Entry]:
    """Entries of a log: (act, version, alias), a millisecond apart."""
    return [
        Entry(number=i, at_ms=1000 + i, act=act, actor="ann", reason="why", version=version,
              digest="d", alias=alias, evidence=evidence)  # type: ignore[arg-type]
        for i, (act, version, alias) in enumerate(acts, 1)
    ]  # fmt: skip


ONE = manifest_of(1, lineage=lineage_of("aa"))
TWO = manifest_of(
    2,
    created_at_ms=7,
    lineage=lineage_of(
        "aa", champion_before={"version": 1}, judged={"model_digest": "j2"},
        released={"model_digest": "r2"},
    ),
)  # fmt: skip
"""Of the same data, with other trees."""
OTHER = manifest_of(3, lineage=lineage_of("bb"), definitions="e" * 64)
LOG = acted(
    ("published", 1, None), ("moved", 1, "champion"), ("published", 2, None),
    ("moved", 2, "champion"), ("rejected", 2, None), ("withdrawn", None, "champion"),
    ("published", 3, None), evidence=digest_of(ONE[1].metrics),
)  # fmt: skip


def reached(graph: Graph, start: str, way: Any) -> set[str]:
    """What a walk goes through, without what is only associated."""
    return {step.node.id for step in graph.walk(start, way) if step.association != "AssociatedWith"}


def test_from_a_dataset_down_to_versions_and_the_times_they_were_in_charge() -> None:
    graph = lineage_graph(NAME, [ONE, TWO, OTHER], LOG)
    (dataset,) = [node for node in graph.nodes.values()
                  if node.what == "dataset" and node.facts["query_digest"] == "aa"]  # fmt: skip
    found = reached(graph, dataset.id, "down")
    assert {f"version:{ONE[0].digest}", f"version:{TWO[0].digest}"} < found
    assert f"version:{OTHER[0].digest}" not in found
    times = [graph.nodes[each] for each in found if graph.nodes[each].what == "in charge"]
    assert sorted((each.at_ms, each.facts["until_ms"]) for each in times) == [
        (1002, 1004), (1004, 1006),
    ]  # fmt: skip


def test_from_a_version_up_to_all_that_made_it_and_nothing_of_others() -> None:
    graph = lineage_graph(NAME, [ONE, TWO, OTHER], LOG)
    whats = sorted(graph.nodes[each].what for each in reached(graph, f"version:{TWO[0].digest}",
                                                              "up"))  # fmt: skip
    assert whats == sorted(["version", "training", "fit", "fit", "report", "settings", "claims",
                            "dataset", "definitions"])  # fmt: skip


def test_the_champion_of_before_is_no_cause() -> None:
    graph = lineage_graph(NAME, [ONE, TWO], [])
    steps = list(graph.walk(f"training:{TWO[0].digest}", "up"))
    (champion,) = [each for each in steps if each.node.what == "version"]
    assert (champion.association, champion.node.facts["version"]) == ("AssociatedWith", 1)


def test_a_manifest_of_an_older_version_is_in_the_graph_with_what_it_has() -> None:
    old = manifest_of(1, lineage={"rows": 1500, "seed": 7})
    graph = lineage_graph(NAME, [old], [])
    whats = {graph.nodes[each].what for each in reached(graph, f"version:{old[0].digest}", "up")}
    assert whats == {"version", "training", "report", "settings", "definitions"}


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
PARTS = st.sampled_from([*lineage_of("aa"), "code", "libraries", "champion_before"])


@given(
    st.lists(st.tuples(st.sampled_from(["aa", "bb"]), st.dictionaries(PARTS, VALUES)), max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["published", "moved", "withdrawn", "rejected"]),
            st.none() | st.integers(0, 5),
            st.sampled_from([None, "champion", "shadow"]),
        ),
        max_size=8,
    ),
)
@settings(max_examples=100, deadline=None)
def test_up_and_down_are_each_others_inverse_whatever_is_recorded(
    versions: list[tuple[str, dict[str, Any]]], acts: list[tuple[str, int | None, str | None]]
) -> None:
    made = [
        manifest_of(i, lineage=lineage_of(data) | odd, created_at_ms=i)
        for i, (data, odd) in enumerate(versions, 1)
    ]
    graph = lineage_graph(NAME, made, acted(*acts))
    msgspec.json.encode(graph)
    assert all({edge.source, edge.target} <= graph.nodes.keys() for edge in graph.edges)
    down = {name: reached(graph, name, "down") for name in graph.nodes}
    up = {name: reached(graph, name, "up") for name in graph.nodes}
    for name, met in down.items():
        assert all(name in up[other] for other in met)
        assert all(name not in down[other] for other in met - {name})  # no circle
    assert sum(map(len, down.values())) == sum(map(len, up.values()))


def test_a_text_names_a_version_an_id_or_the_start_of_a_digest() -> None:
    graph = lineage_graph(NAME, [ONE, TWO, OTHER], LOG)
    assert [node.facts["version"] for node in graph.find("2")] == [2]
    assert [node.what for node in graph.find("definitions:eee")] == ["definitions"]
    assert [node.what for node in graph.find("eeee")] == ["definitions"]
    assert graph.find("eee") == graph.find("9") == graph.find("") == graph.find("٣") == []
    with pytest.raises(KeyError):
        next(graph.walk("nothing", "up"))


def test_the_log_is_read_as_it_is_written() -> None:
    log = ApprovalsLog()
    entry, _ = log.line("moved", at_ms=1, actor="a", reason="r", version=1, digest="d",
                        alias="champion")  # fmt: skip
    graph = lineage_graph(NAME, [ONE], [entry])
    assert [node.words for node in graph.nodes.values() if node.what == "act"] == [
        "moved champion by a: r"
    ]
