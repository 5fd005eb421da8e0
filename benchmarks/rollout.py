"""Measure what shadows and a canary cost: CPU microseconds an event, in one engine.

    python -m benchmarks.rollout            a table
    python -m benchmarks.rollout --json     the same for a program

Batches with no roll-out, with one, two and four shadows, and with a canary follow each other on the
same state, so that all kinds meet the same neighbours on the machine. Rows of the offline store are
built, too. A figure is the median of its batches.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, Final

import msgspec

from benchmarks.canonical import as_records, events
from benchmarks.champion import NAME, load_champion, open_line, publish, served_vectors
from benchmarks.command import command, say
from benchmarks.line import KEY
from claimtrace.decisions import ModelRef, RolloutRef
from featurestore.offline.tables import DECISIONS
from models.registry.adapters.folder import FolderRegistry
from models.rollout.manifest import (
    MOST_SHADOWS,
    Canary,
    Rollout,
    RolloutDraft,
    read_rollout,
    write_rollout,
)
from models.scorer import Scorer
from stream.adapters.process.garbage import rare_collections
from stream.engine.engine import Engine
from stream.journal.plan import in_plan_order, plan_of
from stream.offline_rows.rows import build

VECTORS: Final = 20_000
KINDS: Final = ("champion alone", "1 shadow", "2 shadows", "4 shadows", "canary 5 %")


def run(models: Path, *, policies: int, warm: int, batches: int, batch: int) -> dict[str, Any]:
    """Measure batches of each kind in turns."""
    say("fitting models ...")
    scorers = {each.ref: each for each in (load_champion(models), *_others())}
    refs, rollouts = list(scorers), dict[RolloutRef, Rollout]()
    shadows = [_started(rollouts, refs, n) for n in (1, 2, 4)]
    named = [None, *shadows, _started(rollouts, refs, 0)]
    spent: list[list[float]] = [[] for _ in KINDS]
    positions: dict[Any, int] = {}
    with TemporaryDirectory() as folder, rare_collections():
        line = open_line(Path(folder), policies, scorers[refs[0]])
        engine = Engine(line.domain, line.terms, KEY, lambda ref: scorers[ref],
                        rollout_of=lambda ref: rollouts[ref])  # fmt: skip
        sent = iter(events(policies, warm + batch * batches * len(KINDS)))
        say("warming up and measuring ...")
        number = 0
        while part := list(islice(sent, batch)):
            records = in_plan_order(as_records(part, positions), engine.tie_order)
            kind = number % len(KINDS)
            plan = plan_of(engine.plan + 1, records, refs[0], records[-1].log_time_ms,
                           rollout=named[kind])  # fmt: skip
            began_s = process_time()
            effects = engine.step(plan, records)
            build(DECISIONS, [effects.rows[DECISIONS]])
            if number * batch >= warm:
                spent[kind].append(1e6 * (process_time() - began_s) / len(records))
            number += 1
        line.close()
    return {name: median(each) for name, each in zip(KINDS, spent, strict=True)}


def _others() -> list[Scorer]:
    matrix = served_vectors(VECTORS, 2 * VECTORS)[VECTORS:]
    with TemporaryDirectory() as folder:
        for seed in range(8, 8 + MOST_SHADOWS):
            publish(matrix, Path(folder), seed)
        registry = FolderRegistry(folder, NAME)
        return [Scorer.load(registry.load(ref)) for ref in registry.versions()]


def _started(rollouts: dict[RolloutRef, Rollout], refs: list[ModelRef], shadows: int) -> RolloutRef:
    """Make a roll-out with so many shadows; none: with a canary."""
    draft = RolloutDraft(created_at_ms=0, champion=refs[0], shadows=refs[1 : 1 + shadows])
    if not shadows:
        draft = msgspec.structs.replace(draft, canary=Canary(refs[1], 50_000, "salt"))
    content, ref = write_rollout(draft, NAME, len(rollouts) + 1)
    rollouts[ref] = read_rollout(content, ref)
    return ref


def show(found: dict[str, Any]) -> None:
    """Print the figures, and what each kind costs more than the champion alone."""
    alone = found[KINDS[0]]
    print("CPU us an event          all    more")
    for name, spent in found.items():
        print(f"{name:20s}{spent:8.2f}{spent - alone:8.2f}")


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(30_000, "policies, each with one claim a year"),
        warm=(40_000, "events before measuring"),
        batches=(20, "batches of each kind"),
        batch=(2000, "events a batch"),
    )  # fmt: skip
