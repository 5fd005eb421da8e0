"""Roll-outs of small models, and a registry of them that a driver asks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from claimtrace.decisions import ModelRef, RolloutRef
from models.artefact import Thresholds, read_artefact, write_manifest
from models.rollout.manifest import Canary, Guards, Rollout, RolloutDraft, read_rollout
from models.rollout.manifest import write_rollout as write
from models.scorer import Scorer
from stream.worker.parts import Rollouts
from tests.worlds import models
from tests.worlds.models import a_model

STARTED: dict[RolloutRef, Rollout] = {}


@cache
def a_scorer(version: int) -> Scorer:
    """Load a model of `tests.worlds.models` with thresholds between its scores; 6 refers all,
    and 7 refers none."""
    made, document = a_model(version)
    higher = 0.06 if version == 5 else 0.0
    thresholds = Thresholds(refer=0.41 + higher, review=0.37 + higher)
    if version in (6, 7):
        thresholds = Thresholds(refer=version - 6.0, review=0.0)
    made = msgspec.structs.replace(made, thresholds=thresholds)
    content, digest = write_manifest(made, "claims", version, document)
    artefact = read_artefact(content, document, ModelRef("claims", version, digest))
    return Scorer.load(artefact, self_check=False)


def scorer_of(ref: ModelRef) -> Scorer:
    """Return the model of a reference, as the registry would load it."""
    scorer = a_scorer(ref.version)
    assert scorer.ref == ref
    return scorer


def any_scorer_of(ref: ModelRef) -> Scorer:
    """Return the model of a reference, whichever thresholds it has."""
    scorer = a_scorer(ref.version)
    return scorer if scorer.ref == ref else models.scorer_of(ref)


def a_rollout(
    version: int = 1,
    *,
    champion: int = 1,
    canary: int | None = 2,
    share_ppm: int = 200_000,
    shadows: tuple[int, ...] = (3,),
    scorer: Callable[[int], Scorer] = a_scorer,
    **fields: Any,
) -> RolloutRef:
    """Start a roll-out of the models above, or of others."""
    draft = RolloutDraft(
        created_at_ms=0,
        champion=scorer(champion).ref,
        canary=None if canary is None else Canary(scorer(canary).ref, share_ppm, "salt3"),
        shadows=[scorer(each).ref for each in shadows],
        **fields,
    )
    content, ref = write(draft, "claims", version)
    STARTED[ref] = read_rollout(content, ref)
    return ref


def rollout_of(ref: RolloutRef) -> Rollout:
    """Return the roll-out of a reference, as the registry would read it."""
    return STARTED[ref]


def strict(window_ms: int = 31 * 86_400_000, **limits: Any) -> dict[str, Any]:
    """Fields of a roll-out that ends at the first breach, by limits that are easily breached."""
    guards = Guards(window_ms=window_ms, **{"min_count": 10, "referral_ratio": 1.01, **limits})
    return {"guards": guards, "may_roll_back": True}


class SetRollouts(Rollouts):
    """The roll-out that a test has set; the ends that drivers have recorded."""

    def __init__(self) -> None:
        self.current: RolloutRef | None = None
        self.ended: list[tuple[RolloutRef, str]] = []

    def in_force(self) -> RolloutRef | None:
        return self.current

    def end(self, ref: RolloutRef, reason: str) -> None:
        self.ended.append((ref, reason))
