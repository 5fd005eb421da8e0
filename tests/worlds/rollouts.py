"""Roll-outs of the small models, and a registry of them that a driver asks."""

from __future__ import annotations

from typing import Any

from claimtrace.decisions import RolloutRef
from models.rollout.manifest import Canary, Guards, Rollout, RolloutDraft, read_rollout
from models.rollout.manifest import write_rollout as write
from stream.worker.parts import Rollouts
from tests.worlds.models import a_scorer

STARTED: dict[RolloutRef, Rollout] = {}


def a_rollout(
    version: int = 1,
    *,
    champion: int = 1,
    canary: int | None = 2,
    share_ppm: int = 200_000,
    shadows: tuple[int, ...] = (3,),
    **fields: Any,
) -> RolloutRef:
    """Start a roll-out of `tests.worlds.models`."""
    draft = RolloutDraft(
        created_at_ms=0,
        champion=a_scorer(champion).ref,
        canary=None if canary is None else Canary(a_scorer(canary).ref, share_ppm, "salt3"),
        shadows=[a_scorer(each).ref for each in shadows],
        **fields,
    )
    content, ref = write(draft, "claims", version)
    STARTED[ref] = read_rollout(content, ref)
    return ref


def rollout_of(ref: RolloutRef) -> Rollout:
    """Return the roll-out of a reference, as the registry would read it."""
    return STARTED[ref]


def strict(window_ms: int = 86_400_000, **limits: Any) -> dict[str, Any]:
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
