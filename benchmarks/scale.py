"""Measure the cost of an event, a snapshot and a restart by the number of live entities.

    python -m benchmarks.scale                 a table; each size in processes of its own
    python -m benchmarks.scale --json          the same for a program

A year of claims, twelve of each policy, fills the windows, with about ten entity-events for each
live entity. Then the same number of events is measured at each size, in the engine alone, from
decoding to sealed decisions and rows. There are two figures of memory: the size of the entries of
all windows, as the engine accounts for it, and the growth of the process, which includes ids,
ledgers and unused space. Then follow the rare works of a stream at that size
(`stream.worker.snapshotting`): a snapshot, a round of house-keeping, and the restart after a crash,
which loads the snapshot and applies a number of events again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any, Final

import numpy as np

from benchmarks.canonical import Sent, as_records, events
from benchmarks.champion import load_champion, open_line
from benchmarks.command import command
from benchmarks.line import NOW_MS, Line
from claimtrace.events import Outgoing
from claimtrace.ids import digest_of
from featurestore.state_arrays import below
from featurestore.windows.entity_series import LIVE, TOP
from models.scorer import Scorer
from stream.adapters.embedded.file_journal import FileJournal
from stream.adapters.process.garbage import rare_collections
from stream.adapters.snapshots.reached_file import ReachedFile
from stream.adapters.snapshots.snapshots import Snapshots
from stream.engine.engine import Engine
from stream.journal.plan import Plan, TopicPartition, plan_of
from stream.journal.reached import Reached
from stream.worker.snapshotting import FEW_RECORDS, LARGE_BYTES, UNITS_A_RECORD

SIZES: Final = (10_000, 100_000, 1_000_000)
YEARLY: Final = 12
LIVE_PER_POLICY: Final = 3.8
"""Policies, cars, phones, accounts and shops with an event in some window, for each policy."""
BATCH: Final = 500
FILL_BATCH: Final = 2000
STRETCHES, STRETCH_EVENTS = 5, 10_000
REPLAYED: Final = 1_000_000
PART: Final = "--part"
_AHEAD_EVENTS: Final = 10_000_000

Figures = dict[str, float]


class Feed:
    """Steps an engine through events that are generated on demand."""

    def __init__(self, engine: Engine, sent: Iterator[Sent], scorer: Scorer) -> None:
        self._engine, self._sent, self._scorer = engine, sent, scorer
        self._positions: dict[TopicPartition, int] = dict(engine.positions)

    def batch(self, most: int) -> tuple[Plan, Sequence[Any]]:
        """Make the next plan, with its records."""
        records = as_records(list(islice(self._sent, most)), self._positions)
        return plan_of(self._engine.plan + 1, records, self._scorer.ref, NOW_MS), records

    def run(self, most: int, batch: int = BATCH, *, decides: bool = True) -> list[float]:
        """Step through `most` events; returns the CPU seconds of the engine for each batch."""
        spent_s = []
        step = self._engine.step if decides else self._engine.apply
        while most > 0:
            plan, records = self.batch(min(batch, most))
            most -= len(records)
            began_s = process_time()
            step(plan, records)
            spent_s.append(process_time() - began_s)
        return spent_s


def measure(entities: int, models: Path, folder: Path) -> Figures:
    """Measure one size, in a fresh process; leaves a snapshot in the folder."""
    scorer = load_champion(models)
    policies = round(entities / LIVE_PER_POLICY)
    line = open_line(folder, policies, scorer)
    # compiles the kernels, fills caches
    Feed(line.engine(), events(1000, 4000), scorer).run(4000)
    engine = line.engine()
    line.close()
    before_bytes = _resident_bytes()
    filled = policies * YEARLY
    feed = Feed(engine, events(policies, filled + _AHEAD_EVENTS, yearly=YEARLY), scorer)
    with rare_collections():
        feed.run(filled, FILL_BATCH, decides=False)
        compact(engine)  # as the driver does after each snapshot
        usual = [sum(feed.run(STRETCH_EVENTS)) for _ in range(STRETCHES)]
        grown_bytes = _resident_bytes() - before_bytes
        found = _sizes(engine, policies, grown_bytes)
        found["cpu_us_per_event"] = 1e6 * median(usual) / STRETCH_EVENTS
        found |= _snapshot(engine, feed, folder)
        found |= _house_keeping(engine)
    engine.plan, engine.positions = 0, {}  # the restart begins a new journal after the snapshot
    Snapshots(folder / "snapshots").write(0, engine.arrays())
    return found


def _sizes(engine: Engine, policies: int, grown_bytes: int) -> Figures:
    compact(engine)
    entries, entries_bytes = window_usage(engine)
    return {
        "policies": policies,
        "live_entities": _live_entities(engine),
        "live_entity_events": entries,
        "bytes_per_entity_event": entries_bytes / entries,
        "process_bytes_per_entity_event": grown_bytes / entries,
        "process_mb": grown_bytes / 1e6,
    }


def _snapshot(engine: Engine, feed: Feed, folder: Path) -> Figures:
    """Measure a snapshot beside the loop: the loop's pause, and slower batches meanwhile."""
    store = Snapshots(folder / "apart")
    size = sum(array.nbytes for array in engine.arrays().values())
    while not store.is_ready(engine.arrays()):
        sleep(0.01)
    began_s, from_s = process_time(), perf_counter()
    is_read = store.begin(engine.plan, engine.arrays())
    begin_s = process_time() - began_s
    batch = FEW_RECORDS if is_read and size >= LARGE_BYTES else BATCH
    batches_s: list[float] = []
    while not store.is_written():
        batches_s += feed.run(batch, batch, decides=False)
    written_s = perf_counter() - from_s
    usual_s = median(feed.run(20 * batch, batch, decides=False))
    began_s = process_time()
    store.publish()
    publish_s = process_time() - began_s
    store.cancel()
    began_s = perf_counter()
    Snapshots(folder / "apart", in_background=False).write(engine.plan + 1, engine.arrays())
    return {
        "snapshot_mb": size / 1e6,
        "snapshot_pause_cpu_ms": 1e3 * max(begin_s, publish_s),
        "snapshot_batch_records": batch,
        "snapshot_batch_usual_cpu_ms": 1e3 * usual_s,
        "snapshot_batch_worst_cpu_ms": 1e3 * max(batches_s, default=0.0),
        "snapshot_copying_cpu_ms": 1e3 * sum(max(0.0, each - usual_s) for each in batches_s),
        "snapshot_written_s": written_s,
        "snapshot_in_the_loop_s": perf_counter() - began_s,
    }


def _house_keeping(engine: Engine) -> Figures:
    """Measure a round of house-keeping, slice by slice."""
    slices_s, units = [], 0
    began_s = process_time()
    for done in engine.compaction():
        units += done
        slices_s.append(process_time() - began_s)
        began_s = process_time()
    return {
        "house_keeping_cpu_ms": 1e3 * sum(slices_s),
        "house_keeping_worst_slice_cpu_ms": 1e3 * max(slices_s),
        "house_keeping_records": units / UNITS_A_RECORD,
    }


def restart(entities: int, models: Path, folder: Path, replayed: int) -> Figures:
    """Measure a restart after a crash: load a folder's snapshot, apply later events again."""
    scorer = load_champion(models)
    policies = round(entities / LIVE_PER_POLICY)
    line = open_line(folder, policies, scorer)
    _put(line, scorer, events(policies, _AHEAD_EVENTS, 11, YEARLY, policies * YEARLY), replayed)
    began_s = perf_counter()
    newest = Snapshots(folder / "snapshots").newest()
    assert newest is not None
    line.engine().restore(newest[1])
    restore_s = perf_counter() - began_s
    began_s, spent_s = perf_counter(), process_time()
    with rare_collections():
        driver = line.driver()
    took_s, spent_s = perf_counter() - began_s, process_time() - spent_s
    assert driver.engine.plan == -(-replayed // FILL_BATCH)
    line.close()
    return {
        "restart_events": replayed,
        "restore_s": restore_s,
        "restart_s": took_s,
        "restart_cpu_s": spent_s,
        "replay_cpu_us_per_event": 1e6 * max(0.0, spent_s - restore_s) / replayed,
    }


def _put(line: Line, scorer: Scorer, sent: Iterator[Sent], count: int) -> None:
    """Write events to the log, their plans to the journal, and the plan that was reached."""
    journal = FileJournal(line.folder / "journal", line.terms)
    positions: dict[TopicPartition, int] = {}
    for number in range(1, -(-count // FILL_BATCH) + 1):
        most = min(FILL_BATCH, count - (number - 1) * FILL_BATCH)
        records = as_records(list(islice(sent, most)), positions)
        line.log.append([Outgoing(r.topic, r.partition, r.key, r.value, r.log_time_ms)
                         for r in records])  # fmt: skip
        plan = plan_of(number, records, scorer.ref, NOW_MS)
        journal.append(plan)
    ReachedFile(line.folder / "reached").write(Reached(plan.number, digest_of(plan), {}))


def _live_entities(engine: Engine) -> int:
    """Count the entities with an event in some window."""
    arrays = engine.intake.features.arrays()
    columns = [a for name, a in arrays.items() if name.endswith(".claims/length")]
    return sum(int(np.count_nonzero(column)) for column in columns)


def compact(engine: Engine) -> None:
    """Run a whole compaction of an engine's state at once."""
    for _ in engine.compaction():
        pass


def window_usage(engine: Engine) -> tuple[int, int]:
    """Return the live entries (entity-events) of all windows, and the bytes that they take.

    The bytes include the unused slots of blocks, and the directory of entities.
    """
    arrays = engine.intake.features.arrays()
    entries = size = 0
    for prefix in (name.removesuffix("meta") for name in arrays if name.endswith("/meta")):
        pool = below(prefix, arrays)
        entry_bytes = 8 + 8 * pool["prefix"].shape[0] + 4 * pool["distinct"].shape[0] + 1
        entity_bytes = 8 + 4 + 4 + 1 + 8 * pool["base"].shape[0]
        entities = int(np.count_nonzero(pool["size_class"] >= 0))
        entries += int(pool["meta"][LIVE])
        size += int(pool["meta"][TOP]) * entry_bytes + entities * entity_bytes
    return entries, size


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def run(models: Path, *, sizes: Sequence[int], replayed: int) -> list[Figures]:
    """Measure all sizes, one process after the other, and a restart at the largest size."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            figures = _apart("fill", size, models, folder, 0)
            if size == max(sizes) and replayed:
                figures |= _apart("restart", size, models, folder, replayed)
        found.append(figures)
    return found


def _apart(what: str, size: int, models: Path, folder: str, replayed: int) -> Figures:
    """Measure one size, or its restart, in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.scale", PART, what, str(size), str(models), folder,
            str(replayed)]  # fmt: skip
    answer = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(answer.stdout)
    return figures


def show(found: list[Figures]) -> None:
    """Print the figures as tables, with ratios to the first size."""
    print("live entities   entity-events   CPU us/event   ratio   B/entity-event   process B   MB")
    for each in found:
        ratio = each["cpu_us_per_event"] / found[0]["cpu_us_per_event"]
        print(f"{each['live_entities']:13,} {each['live_entity_events']:15,}"
              f" {each['cpu_us_per_event']:14.1f} {ratio:7.2f}"
              f" {each['bytes_per_entity_event']:16.1f}"
              f" {each['process_bytes_per_entity_event']:11.1f}"
              f" {each['process_mb']:4.0f}")  # fmt: skip
    for name in sorted({name for each in found for name in each if "_" in name}):
        if name.startswith(("snapshot", "house", "rest", "replay")):
            figures = "".join(f"{each.get(name, float('nan')):14,.1f}" for each in found)
            print(f"{name:36}{figures}")


def part(what: str, size: str, models: str, folder: str, replayed: str) -> None:
    """Measure what `_apart` asks for, and print the figures."""
    places = int(size), Path(models), Path(folder)
    figures = measure(*places) if what == "fill" else restart(*places, int(replayed))
    print(json.dumps(figures))


if __name__ == "__main__":
    if sys.argv[1:2] == [PART]:
        part(*sys.argv[2:])
    else:
        command(
            __doc__ or "", run, show,
            sizes=(SIZES, "live entities"),
            replayed=(REPLAYED, "events of the restart; 0: none"),
        )  # fmt: skip
