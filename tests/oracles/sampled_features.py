"""The naive vectors of some claims only, out of a long history: each looks through the claims that
share a key with it, instead of through all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from featurestore.definitions.domain import Domain
from tests.oracles import naive_features
from tests.oracles.naive_features import keys_of


def sampled_vectors(
    domain: Domain,
    facts: list[tuple[str, Any, int, int]],
    lateness_ms: int,
    claim_ids: Collection[str],
) -> dict[str, list[float]]:
    """The vectors of the claims named; facts as of `naive_vectors`, in their order."""
    naive_features._ENTITIES.clear()
    naive_features._ENTITIES.update({e.key: e for e in domain.entities})
    by_key: dict[tuple[str, str], list[Any]] = {}
    by_id: dict[str, Any] = {}
    labels: dict[int, list[Any]] = {}
    profiles: dict[tuple[str, str], tuple[int, Any]] = {}
    watermark = -(10**18)
    vectors: dict[str, list[float]] = {}
    for kind, event, time_ms, known_ms in facts:
        if kind == "label":
            claim = by_id.get(event.claim_id)
            if claim is not None and event.outcome in ("fraud", "legit"):
                claim["outcome"] = event.outcome
                verdict = (known_ms, claim, event.outcome == "fraud")
                labels.setdefault(claim["number"], []).append(verdict)
            continue
        if kind == "change":
            group = next(g for g in domain.groups if g.event is type(event))
            key = keys_of(event, group.entity)[0]
            stored = profiles.get((group.name, key))
            if key and (stored is None or time_ms >= stored[0]):
                profiles[group.name, key] = (time_ms, event)
            continue
        watermark = max(watermark, time_ms)
        on_time = time_ms >= watermark - lateness_ms
        now = {"event": event, "time": time_ms, "late": not on_time, "outcome": "",
               "applied": on_time, "number": len(by_id)}  # fmt: skip
        named = {(e.name, key) for e in domain.entities for key in keys_of(event, e) if key}
        claim_id = getattr(event, domain.claim.id_field)
        if claim_id in claim_ids:
            near = {c["number"]: c for name in named for c in by_key.get(name, ())}
            past = [near[number] for number in sorted(near)]
            known = [each for number in sorted(near) for each in labels.get(number, ())]
            vectors[claim_id] = naive_features._vector(domain, now, past, known, profiles)
        by_id[claim_id] = now
        if on_time:
            for name in named:
                by_key.setdefault(name, []).append(now)
    return vectors
