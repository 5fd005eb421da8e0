"""Measure the throughput of a whole stream: log to log, with journal, snapshots, offline rows.

    python -m benchmarks.throughput            a table
    python -m benchmarks.throughput --json     the same for a program

All features of the stream are enabled: decoding, windows, model, reasons for the 5 % of claims that
are referred, drift, sealed decisions, emission. A snapshot falls due too rarely to be part of each
stretch, so it is measured apart and its share is added. The stream takes turns with the floor,
which only decodes, predicts and produces the same claims (`benchmarks.floor`). Rates depend on the
machine and on other load on it, so compare ratios: `python -m benchmarks --beside CHECKOUT` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.canonical import Sent, as_records, events
from benchmarks.champion import load_champion, open_line
from benchmarks.command import command, say
from benchmarks.floor import Floor, served_matrix
from benchmarks.line import Line, peak_mb
from claimtrace.events import Record
from claimtrace.settings.schema import StreamSettings
from claimtrace_examples.auto_claims import ClaimFiled
from stream.adapters.process.garbage import rare_collections
from stream.journal.plan import TopicPartition
from stream.worker.driver import Driver

BATCHES = (2000, 500, 64)
STRETCHES = 3
SNAPSHOT_EVERY = StreamSettings().snapshot_every_records
OFFLINE_EVERY = StreamSettings().offline_every_records
"""Events between two appends to the offline store; by default each stretch has one append."""
SPARE = 4_000
FLOOR_CLAIMS, XGBOOST_CLAIMS = 10_000, 2_000


def fill_log(line: Line, sent: Iterator[Sent]) -> None:
    """Append events to the line's log."""
    positions: dict[TopicPartition, int] = {}
    while batch := list(islice(sent, 20_000)):
        by_place: dict[TopicPartition, list[Record]] = {}
        for record in as_records(batch, positions):
            by_place.setdefault((record.topic, record.partition), []).append(record)
        with line.log.transaction():
            for place, records in sorted(by_place.items()):
                line.log.append_columns(
                    *place, None, [r.value or b"" for r in records],
                    [r.log_time_ms for r in records],
                )  # fmt: skip


def measure(driver: Driver, records: int, batch: int) -> dict[str, float]:
    """Drive a number of records in batches; returns rates and the times of a batch."""
    times: list[float] = []
    done = 0
    cpu_s = process_time()
    while done < records:
        began = perf_counter()
        done += driver.step(batch)
        times.append(perf_counter() - began)
    cpu_s = process_time() - cpu_s
    p50, p99 = np.percentile(times, [50, 99]).tolist()
    return {
        "batch": batch,
        "events": done,
        "events_per_s": done / sum(times),
        "cpu_us_per_event": 1e6 * cpu_s / done,
        "p50_ms": 1e3 * p50,
        "p99_ms": 1e3 * p99,
    }


def middle(found: list[dict[str, float]]) -> dict[str, float]:
    """Choose the stretch of the median CPU time, which a single disturbance doesn't change."""
    return sorted(found, key=lambda each: each["cpu_us_per_event"])[len(found) // 2]


def measure_snapshot(driver: Driver) -> float:
    """Measure CPU seconds of a snapshot and of the house-keeping after it, children included.

    The snapshot is the median of several, each with the rows of one record. House-keeping is the
    first round, which has the most work.
    """
    driver.finish()
    began_s = _all_cpu_s()
    for _ in driver.engine.compaction():
        pass
    tidy_s = _all_cpu_s() - began_s
    snapshots_s = []
    for _ in range(STRETCHES):
        driver.step(1)
        began_s = _all_cpu_s()
        driver.finish()
        snapshots_s.append(_all_cpu_s() - began_s)
    return median(snapshots_s) + tidy_s


def with_snapshots(rate: dict[str, float], snapshot_s: float) -> dict[str, float]:
    """Add an event's share of a snapshot at the default settings to a rate."""
    cpu_us = rate["cpu_us_per_event"] + 1e6 * snapshot_s / SNAPSHOT_EVERY
    return {**rate, "cpu_us_per_event": cpu_us, "events_per_core_s": 1e6 / cpu_us}


def _all_cpu_s() -> float:
    return process_time() + sum(getrusage(RUSAGE_CHILDREN)[:2])


def run(models: Path, *, policies: int, warm: int, events_each: int) -> dict[str, Any]:
    """Measure all batch sizes and the floors in turns, `STRETCHES` stretches of each."""
    scorer = load_champion(models)
    total = SPARE + warm + events_each * len(BATCHES)
    with TemporaryDirectory() as folder, rare_collections():
        line = open_line(Path(folder), policies, scorer)
        say("filling the log ...")
        fill_log(line, events(policies, total))
        driver = line.driver(snapshot_every_records=total)  # its share is added below
        say("warming up ...")
        measure(driver, warm, BATCHES[0])
        records = line.log.read(ClaimFiled.topic, 0, 0, FLOOR_CLAIMS)
        matrix = served_matrix(line, len(records))
        floor = Floor(Path(folder), scorer, [record.value or b"" for record in records], matrix)
        plain = Floor(
            Path(folder), scorer, floor.values[:XGBOOST_CLAIMS], matrix,
            model=models / "canonical/000001/model.json",
        )  # fmt: skip
        rates: dict[int, list[dict[str, float]]] = {batch: [] for batch in BATCHES}
        floors_us: dict[str, list[float]] = {"floor": [], "with_reasons": [], "xgboost": []}
        for turn in range(1, STRETCHES + 1):
            say(f"stretch {turn} of {STRETCHES} ...")
            for batch in BATCHES:
                rates[batch].append(measure(driver, events_each // STRETCHES, batch))
            floors_us["floor"].append(floor.cost_us())
            floors_us["with_reasons"].append(floor.cost_us(explained=True))
            floors_us["xgboost"].append(plain.cost_us(explained=True))
        say("a snapshot ...")
        snapshot_s = measure_snapshot(driver)
        counts, peak = driver.counts, peak_mb()
        line.close()
    return {
        "policies": policies,
        "value_bytes": sum(map(len, floor.values)) / len(floor.values),
        "referred_ratio": counts.referred / counts.claims,
        "rates": [with_snapshots(middle(rates[batch]), snapshot_s) for batch in BATCHES],
        "snapshot_cpu_ms": 1e3 * snapshot_s,
        "floors_us": {name: median(each) for name, each in floors_us.items()},
        "peak_mb": peak,
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"{found['value_bytes']:.0f} B a claim, {100 * found['referred_ratio']:.1f} % referred,"
          f" {found['policies']:,} policies, peak {found['peak_mb']:.0f} MB")  # fmt: skip
    print("\nbatch   events/s   events/s and core   CPU us/event   times the floor   p50 ms"
          "   p99 ms")  # fmt: skip
    floors = found["floors_us"]
    for rate in found["rates"]:
        print(f"{rate['batch']:5.0f} {rate['events_per_s']:10,.0f}"
              f" {rate['events_per_core_s']:19,.0f} {rate['cpu_us_per_event']:14.1f}"
              f" {rate['cpu_us_per_event'] / floors['floor']:17.1f}"
              f" {rate['p50_ms']:8.2f} {rate['p99_ms']:8.2f}")  # fmt: skip
    print(f"\nCPU us a claim: floor (decode, predict, produce) {floors['floor']:.1f};"
          f" with reasons for 5 % {floors['with_reasons']:.1f};"
          f" the same by XGBoost's own predict and SHAP {floors['xgboost']:.1f}")  # fmt: skip


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        warm=(120_000, "events before measuring"),
        events_each=(STRETCHES * OFFLINE_EVERY, "events for each batch size"),
    )  # fmt: skip
