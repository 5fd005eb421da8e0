"""Whether an event costs the same among 10 thousand, 100 thousand and a million live entities.

    python -m benchmarks.scale                 a table; each size in a process of its own
    python -m benchmarks.scale --json          the same for a program

A year of claims fills the windows; then the same number of events is measured, in the engine alone
(decode to sealed decision and rows). Memory is told twice: what the entries of all windows take by
their own account, and what the process grew by, with ids, ledgers and unused room.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from claimtrace.models.scorer import Scorer
from stream.adapters.collector import rare_collections
from stream.engine import Engine
from stream.plans import Place, plan_of

from .canonical import Sent, as_records, events
from .champion import load_champion, make_champion, open_line
from .line import NOW_MS

SIZES = (10_000, 100_000, 1_000_000)
LIVE_PER_POLICY = 1.85
"""Policies, cars, phones, accounts and shops with an event in some window, for each policy."""
BATCH = 500
STRETCHES, STRETCH_EVENTS = 5, 10_000


class Feed:
    """Steps an engine through events that are made as they are needed."""

    def __init__(self, engine: Engine, policies: int, claims: int, scorer: Scorer) -> None:
        self._engine, self._scorer = engine, scorer
        self._sent = events(policies, claims)
        self._positions: dict[Place, int] = {}

    def run(self, most: int) -> float:
        """Step through so many events; returns the CPU seconds of the engine."""
        spent_s = 0.0
        while most > 0:
            sent: list[Sent] = list(islice(self._sent, min(BATCH, most)))
            most -= len(sent)
            records = as_records(sent, self._positions)
            plan = plan_of(self._engine.plan + 1, records, self._scorer.ref, NOW_MS)
            began_s = process_time()
            self._engine.step(plan, records)
            spent_s += process_time() - began_s
        return spent_s


def measure(entities: int, models: Path) -> dict[str, float]:
    """One size, in a fresh process."""
    scorer = load_champion(models)
    policies = round(entities / LIVE_PER_POLICY)
    with tempfile.TemporaryDirectory() as folder:
        line = open_line(Path(folder), policies, scorer)
        Feed(line.engine(), 1000, 2000, scorer).run(2000)  # compiles the kernels, fills caches
        engine = line.engine()
        line.close()
    before_bytes = _resident_bytes()
    measured = STRETCHES * STRETCH_EVENTS
    feed = Feed(engine, policies, policies + 2 * measured, scorer)
    with rare_collections():
        feed.run(policies)
        engine.forget()  # as the driver does at every snapshot
        stretches_us = [1e6 * feed.run(STRETCH_EVENTS) / STRETCH_EVENTS for _ in range(STRETCHES)]
    grown_bytes = _resident_bytes() - before_bytes
    engine.forget()
    usage = engine.intake.features.usage().values()
    entries = sum(entries for entries, _ in usage)
    return {
        "policies": policies,
        "live_entities": _live_entities(engine),
        "live_entity_events": entries,
        "cpu_us_per_event": median(stretches_us),
        "bytes_per_entity_event": sum(size for _, size in usage) / entries,
        "process_bytes_per_entity_event": grown_bytes / entries,
        "process_mb": grown_bytes / 1e6,
    }


def _live_entities(engine: Engine) -> int:
    """Entities with an event that some window can still reach."""
    arrays = engine.intake.features.arrays()
    columns = [a for name, a in arrays.items() if name.endswith(".claims/length")]
    return sum(int(np.count_nonzero(column)) for column in columns)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def run(sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """All sizes, one process after the other, with one model."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        make_champion(Path(name))
        for size in sizes:
            command = [sys.executable, "-m", "benchmarks.scale", "--one", str(size), name]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(answer.stdout))
    return found


def show(found: list[dict[str, Any]]) -> None:
    """The figures as a table, with ratios to the first size."""
    print("live entities   entity-events   CPU us/event   ratio   B/entity-event   process B   MB")
    for each in found:
        ratio = each["cpu_us_per_event"] / found[0]["cpu_us_per_event"]
        print(f"{each['live_entities']:13,} {each['live_entity_events']:15,}"
              f" {each['cpu_us_per_event']:14.1f} {ratio:7.2f}"
              f" {each['bytes_per_entity_event']:16.1f}"
              f" {each['process_bytes_per_entity_event']:11.1f}"
              f" {each['process_mb']:4.0f}")  # fmt: skip


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Cost and memory by number of live entities.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("ENTITIES", "MODELS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(int(chosen.one[0]), Path(chosen.one[1]))))
        return
    found = run(tuple(chosen.sizes))
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


if __name__ == "__main__":
    main()
