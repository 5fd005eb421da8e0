"""The sources of evidence of a random history, in memory, and what the stream decided on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from claimtrace.batches.records import Records
from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, ModelRef, chain_of
from serving.evidence.evidence import Approval
from serving.evidence.gathering import Gatherer
from serving.evidence.index import EvidenceIndex, Gap, Read
from serving.evidence.sources import Place, Sealed
from stream.engine.engine import Engine
from stream.journal.plan import Plan, plan_of
from stream.journal.terms import Terms
from tests.worlds.histories import REMEMBER_MS, UNKNOWN_SCHEMA, History
from tests.worlds.random_events import KEY


class MemorySources:
    """A history, decided on in plans of some sizes; `gone` are records that nobody has any more."""

    def __init__(self, history: History, sizes: Sequence[int], edition: int = 0) -> None:
        self.history = history
        self.made: list[Plan] = []
        self.decisions: dict[int, list[bytes]] = {}
        self.gone: set[tuple[str, int, int]] = set()
        engine, start, records = history.engine(), 0, history.records
        self.terms: Terms = engine.decider._terms
        self.domain = history.domain
        sizes = list(sizes)
        while start < len(records):
            size = sizes[len(self.made) % len(sizes)]
            batch = records[start : start + size]
            start += size
            begins = edition if edition and len(self.made) == 3 else 0
            if begins:
                self._step(engine, Plan(number=engine.plan + 1, ranges=[], model=None, now_ms=0,
                                        edition=begins), [])  # fmt: skip
            plan = plan_of(engine.plan + 1, batch, history.model, len(self.made), [UNKNOWN_SCHEMA],
                           rollout=history.rollout)  # fmt: skip
            self._step(engine, plan, batch)
        self.by_place = {(r.topic, r.partition, r.position): r for r in records}

    def _step(self, engine: Engine, plan: Plan, batch: Sequence[Any]) -> None:
        self.made.append(plan)
        for each in engine.step(plan, batch).outgoing:
            if each.topic == DECISIONS_TOPIC:
                self.decisions.setdefault(each.partition, []).append(each.value or b"")

    def plans(self) -> Sequence[Plan]:
        return self.made

    def engine(self, lateness_ms: int | None = None) -> Engine:
        terms = self.terms
        if lateness_ms is not None:
            terms = msgspec.structs.replace(terms, lateness_ms=lateness_ms)
        whole = self.history.engine()
        return Engine(self.domain, terms, KEY, whole._load, whole.decoder._plain,
                      whole._rollout_of, watches=False)  # fmt: skip

    def read(self, plans: Sequence[Plan]) -> Read:
        found, gaps = [], []
        for plan in plans:
            for span in plan.ranges:
                places = [(span.topic, span.partition, p)
                          for p in range(span.from_position, span.to_position)]  # fmt: skip
                found += [self.by_place[p] for p in places if p not in self.gone]
                gaps += [Gap(*p, p[2] + 1, plan.number) for p in places if p in self.gone]
        return Read(Records.of(found[::-1]), gaps)

    def records(self, places: Sequence[Place]) -> Records:
        return Records.of([self.by_place[p[:3]] for p in places if p[:3] not in self.gone])

    def sealed(self, partition: int, before: int, position: int) -> Sealed | None:
        values = self.decisions.get(partition, [])
        if before >= len(values):
            return None
        chain = chain_of(values[before - 1]) if before else GENESIS
        behind = values[before + 1] if before + 1 < len(values) else b""
        return Sealed(before, values[before], chain, behind)

    def acts(self, model: ModelRef, until_ms: int) -> tuple[list[Approval], int, int]:
        return [Approval("approved", "ann", "ann@desk", until_ms, "better", 1)], 1, 0

    def index(self) -> EvidenceIndex:
        index = EvidenceIndex(self.engine(), KEY, REMEMBER_MS)
        index.extend(self.made, self.read)
        return index

    def gatherer(self) -> Gatherer:
        return Gatherer(self.index(), self, self.terms)

    def claims(self) -> list[Any]:
        """Every decision, in order of partition and position, decoded."""
        return [msgspec.json.decode(v) for p in sorted(self.decisions) for v in self.decisions[p]]


def picked(items: Sequence[Any], most: int, seed: int) -> list[Any]:
    """Return some of the items, drawn by a seed."""
    rng = np.random.default_rng(seed)
    at = rng.permutation(len(items))[:most]
    return [items[i] for i in sorted(at.tolist())]
