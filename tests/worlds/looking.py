"""An engine with some history, looked at over HTTP in this process by a thread that owns it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from claimtrace.clock import ManualClock
from claimtrace.decisions import ModelRef
from claimtrace.events import Record
from claimtrace_examples.auto_claims import DOMAIN
from models.scorer import Scorer
from serving.adapters.looks.model_shelf import ModelShelf, Registered
from serving.adapters.looks.models import ModelService
from serving.adapters.looks.service import LookService
from stream.engine.engine import Engine
from stream.journal.plan import plan_of
from tests.worlds.random_events import KEY, a_stream, as_records
from tests.worlds.rollouts import a_scorer
from tests.worlds.stream_folder import terms

OTHER_DEFINITIONS = 9
"""The version that the registry has, and that doesn't fit."""


@dataclass
class Looking:
    """The parts of a process that answers looks."""

    engine: Engine
    looks: LookService
    models: ModelService
    clock: ManualClock
    loaded: list[ModelRef] = field(default_factory=list)


def refs() -> list[ModelRef]:
    fitting = [a_scorer(version).ref for version in (1, 2, 3, 4)]
    return [*fitting, ModelRef("claims", OTHER_DEFINITIONS, "f" * 64)]


def an_engine(seed: int = 4, count: int = 120) -> tuple[Engine, list[Record]]:
    """Return an engine with a history and a champion, and claims that come next."""
    records = as_records(a_stream(seed, count + 60))
    shelf_of: dict[str, Any] = {}
    engine = Engine(DOMAIN, terms(), KEY, lambda ref: shelf_of["shelf"].scorer_of(ref))
    engine.shelf_of = shelf_of  # type: ignore[attr-defined]
    shelf_of["shelf"] = ModelShelf(Registered(list, str, a_scorer), 1, in_charge)  # type: ignore[arg-type]
    engine.step(plan_of(1, records[:count], a_scorer(1).ref, 1_000), records[:count])
    return engine, [each for each in records[count:] if each.topic == DOMAIN.claim.topic]


def in_charge(ref: ModelRef) -> Scorer:
    assert ref.version == 1, f"{ref.label} isn't in charge"
    return a_scorer(ref.version)


@contextmanager
def looking(engine: Engine, at_ms: int, *, models: int = 2, most_waiting: int = 4096,
            max_behind_ms: int = 2_000) -> Iterator[Looking]:  # fmt: skip
    """Run a thread that answers looks at an engine."""
    clock = ManualClock(at_ms)
    loaded: list[ModelRef] = []

    def load(ref: ModelRef) -> Scorer:
        loaded.append(ref)
        return a_scorer(ref.version)

    def misfit(ref: ModelRef) -> str:
        other = ref.version == OTHER_DEFINITIONS
        return f"of definitions {'e' * 64}, not {DOMAIN.definitions_digest}" if other else ""

    registered = Registered(refs, misfit, load)
    shelf = ModelShelf(registered, models, in_charge)
    engine.shelf_of["shelf"] = shelf  # type: ignore[attr-defined]
    looks = LookService(most_waiting, max_behind_ms, 60.0, shelf, clock, DOMAIN)
    looks.freshness.complete(at_ms)
    service = ModelService(registered, lambda: {"champion": 1}, shelf, models)
    asked, ended = threading.Event(), threading.Event()
    looks.desk.wake = asked.set

    def run() -> None:
        while not ended.is_set():
            asked.wait(5)
            asked.clear()
            while looks.desk.is_waited_for:
                looks.serve(engine)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Looking(engine, looks, service, clock, loaded)
    finally:
        ended.set()
        asked.set()
        thread.join(20)
        looks.close()
        service.close()
