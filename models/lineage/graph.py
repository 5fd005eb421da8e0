"""The lineage graph of a registry: from data to models to where they were in charge, and back.

    definitions -> dataset -> claims -+                 +-> judged fit -> report -+
    settings, code -------------------+-> training -----+-> released fit ---------+-> version
                                                                                        |
                                              time in charge <- act of a person or job <-+

Nodes are artefacts, actions and contexts. An edge says what its source is to its target:
`ContributedTo`, `Produced`, `DerivedFrom` (the target is made from the source) and `AssociatedWith`
(no cause). Kinds and associations have the names and meaning of Amazon SageMaker's lineage; but an
artefact is known by the digest of its content, not by an address.

The graph is a pure function of the manifests and the approvals log: the training run records in the
manifest what it used, so nobody draws an edge by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from claimtrace.decisions import ModelRef
from claimtrace.ids import digest_of

from ..artefact import Manifest
from ..registry.approvals_log import Entry

Kind = Literal["artefact", "action", "context"]
Association = Literal["ContributedTo", "Produced", "DerivedFrom", "AssociatedWith"]
Direction = Literal["up", "down"]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact, action or context.

    Attributes:
        id: what it is and the digest of its content or the number of its act: `dataset:1f..`.
        kind: artefact, action or context.
        what: `dataset`, `version`, `training`, `in charge` and so on.
        words: about it, for people.
        at_ms: when it happened or began, in ms; None where that isn't known.
        facts: its properties by name.
    """

    id: str
    kind: Kind
    what: str
    words: str
    at_ms: int | None = None
    facts: dict[str, Any] = {}


class Edge(msgspec.Struct, frozen=True):
    """An association from one node to another, by their ids."""

    source: str
    association: Association
    target: str


class Step(msgspec.Struct, frozen=True):
    """A node met on a walk: how deep, by which association, and whether it was met before."""

    depth: int
    association: Association | None
    node: Node
    again: bool = False


class Graph(msgspec.Struct, frozen=True):
    """Nodes by their ids, and edges in the order in which they came about."""

    nodes: dict[str, Node] = {}
    edges: list[Edge] = []

    def walk(self, start: str, direction: Direction) -> Iterator[Step]:
        """Yield a node and all that it came from (`up`) or that came from it (`down`), depth first.

        The walk doesn't go on through nodes that are only associated, nor twice through one node.

        Raises:
            KeyError: there is no such node.
        """
        near: dict[str, list[tuple[Association, str]]] = {}
        for edge in self.edges:
            ends = (edge.target, edge.source) if direction == "up" else (edge.source, edge.target)
            near.setdefault(ends[0], []).append((edge.association, ends[1]))
        met: set[str] = set()
        left: list[tuple[int, Association | None, str]] = [(0, None, start)]
        while left:
            depth, association, at = left.pop()
            yield Step(depth, association, self.nodes[at], at in met)
            if at in met or association == "AssociatedWith":
                continue
            met.add(at)
            left += [(depth + 1, how, other) for how, other in reversed(near.get(at, []))]

    def part(self, ids: Iterable[str]) -> Graph:
        """Return the graph of some nodes and the edges among them."""
        kept = set(ids)
        return Graph(
            {name: node for name, node in self.nodes.items() if name in kept},
            [edge for edge in self.edges if edge.source in kept and edge.target in kept],
        )

    def find(self, text: str) -> list[Node]:
        """Return the nodes that a text names: a version's number, an id, or the start of a digest.

        >>> node = Node(id="dataset:ab12cd", kind="artefact", what="dataset", words="")
        >>> [each.id for each in Graph({node.id: node}).find("ab12")]
        ['dataset:ab12cd']
        """
        if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
            return [
                node for node in self.nodes.values()
                if node.what == "version" and node.facts["version"] == int(text)
            ]  # fmt: skip
        if text in self.nodes:
            return [self.nodes[text]]
        found = (
            node
            for name, node in self.nodes.items()
            if len(text) >= _LEAST_OF_DIGEST and text in (name[: len(text)], _rest(name, text))
        )
        return list(found)


_MOST_DIGITS: Final = 9
_LEAST_OF_DIGEST: Final = 4


def _rest(name: str, text: str) -> str:
    return name.partition(":")[2][: len(text)]


def lineage_graph(
    name: str, versions: Sequence[tuple[ModelRef, Manifest]], entries: Sequence[Entry]
) -> Graph:
    """Build the graph of one model name.

    Args:
        name: of the model.
        versions: reference and manifest of each version, oldest first.
        entries: the approvals log, oldest first.
    """
    maker = _Maker(name, versions)
    for ref, manifest in versions:
        published = next((e for e in entries if e.act == "published" and e.version == ref.version),
                         None)  # fmt: skip
        maker.version(ref, manifest, published)
    for entry in entries:
        if entry.act != "published":
            maker.act(entry)
    return maker.graph


class _Maker:
    """Adds versions and acts to a graph; manifests are read tolerantly, as older ones hold less."""

    def __init__(self, name: str, versions: Sequence[tuple[ModelRef, Manifest]]) -> None:
        self.graph = Graph({}, [])
        self._name = name
        self._ids = {ref.version: f"version:{ref.digest}" for ref, _ in versions}
        self._in_charge: dict[str, str] = {}
        self._drawn: set[Edge] = set()
        self._node(f"group:{name}", "context", "model", name)

    def version(self, ref: ModelRef, manifest: Manifest, published: Entry | None) -> None:
        """Add a version and all that made it."""
        lineage, training = manifest.lineage, f"training:{ref.digest}"
        who = {"actor": published.actor, "reason": published.reason} if published else {}
        self._node(training, "action", "training", f"of {ref.label}", manifest.created_at_ms,
                   {**who, "params": _part(lineage, "params")})  # fmt: skip
        for source in self._sources(manifest):
            self._edge(source, "ContributedTo", training)
        before = _part(lineage, "champion_before").get("version")
        if isinstance(before, int) and before in self._ids:
            self._edge(self._ids[before], "AssociatedWith", training)
        version = self._ids[ref.version]
        facts = {
            "version": ref.version,
            "digest": ref.digest,
            "model_digest": manifest.model_digest,
        }
        self._node(version, "artefact", "version", ref.label, manifest.created_at_ms, facts)
        report = f"report:{digest_of(manifest.metrics)}"
        for part in ("judged", "released"):
            if fit := self._fit(lineage, part, training):
                ends = (report, "ContributedTo") if part == "judged" else (version, "DerivedFrom")
                self._edge(fit, ends[1], ends[0])  # type: ignore[arg-type]
        self._node(report, "artefact", "report", _report_words(manifest), manifest.created_at_ms)
        self._edge(training, "Produced", report)
        self._edge(report, "ContributedTo", version)
        self._edge(training, "Produced", version)
        self._edge(version, "AssociatedWith", f"group:{self._name}")

    def act(self, entry: Entry) -> None:
        """Add what a person or job did with a version, and the time in charge that came of it."""
        act = f"act:{entry.number}"
        words = " ".join(filter(None, (entry.act, entry.alias, f"by {entry.actor}:", entry.reason)))
        facts = {"actor": entry.actor, "reason": entry.reason, "act": entry.act}
        self._node(act, "action", "act", words, entry.at_ms, facts)
        ended = self._in_charge.pop(entry.alias, None) if entry.alias else None
        if ended is not None:
            node = self.graph.nodes[ended]
            self.graph.nodes[ended] = msgspec.structs.replace(
                node, facts={**node.facts, "until_ms": entry.at_ms}
            )
            self._edge(act, "AssociatedWith", ended)
        if entry.version not in self._ids:
            return
        self._edge(self._ids[entry.version], "ContributedTo", act)
        if entry.evidence and (report := f"report:{entry.evidence}") in self.graph.nodes:
            self._edge(report, "ContributedTo", act)
        if entry.act == "moved" and entry.alias:
            place = f"in charge:{entry.number}"
            words = f"{entry.alias} of {self._name}"
            self._node(place, "context", "in charge", words, entry.at_ms, {"until_ms": None})
            self._edge(act, "Produced", place)
            self._in_charge[entry.alias] = place

    def _sources(self, manifest: Manifest) -> Iterator[str]:
        lineage = manifest.lineage
        definitions = self._node(
            f"definitions:{manifest.definitions}", "artefact", "definitions",
            f"{len(manifest.features)} features of {manifest.domain}",
        )  # fmt: skip
        if dataset := _part(lineage, "dataset"):
            known_ms = dataset.get("at_ms")
            at_ms = known_ms if isinstance(known_ms, int) else None
            found = self._node(
                f"dataset:{digest_of(dataset)}", "artefact", "dataset",
                f"{_count(dataset, 'claims')} claims, {_count(dataset, 'frauds')} known frauds",
                at_ms, {key: dataset[key] for key in ("tables", "query_digest") if key in dataset},
            )  # fmt: skip
            self._edge(definitions, "ContributedTo", found)
            yield self._claims(lineage, found)
        else:
            yield definitions
        settings = _part(lineage, "settings")
        params = _part(lineage, "params")
        yield self._node(
            f"settings:{settings.get('digest') or digest_of(params)}", "artefact", "settings",
            ", ".join(f"{key} {value}" for key, value in sorted(params.items())) or "defaults",
        )  # fmt: skip
        code = {**_part(lineage, "code"), **_part(lineage, "libraries")}
        if code:
            words = ", ".join(f"{key} {value}" for key, value in code.items())
            yield self._node(f"code:{digest_of(code)}", "artefact", "code", words)

    def _claims(self, lineage: Mapping[str, Any], dataset: str) -> str:
        """Add how a data set was divided; returns the data set itself where that isn't known."""
        split = _part(lineage, "split")
        if not split.get("claims_digest"):
            return dataset
        rows = _part(split, "rows")
        words = (f"{_count(rows, 'train')} to learn from, {_count(rows, 'test')} to judge by, "
                 f"{_count(rows, 'released')} for the released model")  # fmt: skip
        claims = self._node(
            f"claims:{split['claims_digest']}", "artefact", "claims", words, None, {"rows": rows}
        )
        self._edge(dataset, "DerivedFrom", claims)
        return claims

    def _fit(self, lineage: Mapping[str, Any], part: str, run: str) -> str:
        fit = _part(lineage, part)
        if not fit.get("model_digest"):
            return ""
        words = f"{part}, of {_count(fit, 'claims')} claims, {_count(fit, 'rounds')} trees"
        found = self._node(f"fit:{fit['model_digest']}", "artefact", "fit", words)
        self._edge(run, "Produced", found)
        return found

    def _node(
        self, name: str, kind: Kind, what: str, words: str, at_ms: int | None = None,
        facts: dict[str, Any] | None = None,
    ) -> str:  # fmt: skip
        if name not in self.graph.nodes:
            self.graph.nodes[name] = Node(
                id=name, kind=kind, what=what, words=words, at_ms=at_ms, facts=facts or {}
            )
        return name

    def _edge(self, source: str, association: Association, target: str) -> None:
        edge = Edge(source, association, target)
        if edge not in self._drawn:
            self._drawn.add(edge)
            self.graph.edges.append(edge)


def _part(thing: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = thing.get(name)
    return found if isinstance(found, dict) else {}


def _count(thing: Mapping[str, Any], name: str) -> str:
    found = thing.get(name)
    return f"{found:,}" if isinstance(found, int) else "?"


def _report_words(manifest: Manifest) -> str:
    found = _part(_part(manifest.metrics, "evaluation"), "average_precision").get("value")
    return f"average precision {found:.3f}" if isinstance(found, float) else "of the evaluation"
