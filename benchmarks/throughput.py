"""How fast the whole line is: log to log, with journal, snapshots and offline rows.

    python -m benchmarks.throughput            a table
    python -m benchmarks.throughput --json     the same for a program

Decode, windows, model, reasons for the 5 % referred, drift, seal, emit: everything is on. Beside it
in the same run stand the floor, the same model in the same kernels without any of the rest, and a
plain micro-batched loop on XGBoost. Machines differ: compare ratios, not rates.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.events import Record
from claimtrace.models.scorer import Scorer
from examples.auto_claims import ClaimFiled
from featurestore.offline import DECISIONS
from stream.adapters.collector import rare_collections
from stream.driver import Driver
from stream.plans import Place, plan_of

from .canonical import Sent, as_records, events
from .champion import make_champion, open_line
from .line import NOW_MS, Line, peak_mb
from .stopwatch import Stopwatch

BATCHES = (2000, 500, 64)
STAGES_BATCH = 500
STRETCHES = 3
LONE_WARM, LONE = 2000, 2000


def fill_log(line: Line, sent: Iterator[Sent]) -> None:
    """Put events on the line's log."""
    positions: dict[Place, int] = {}
    while batch := list(islice(sent, 20_000)):
        by_place: dict[Place, list[Record]] = {}
        for record in as_records(batch, positions):
            by_place.setdefault((record.topic, record.partition), []).append(record)
        with line.log.transaction():
            for place, records in sorted(by_place.items()):
                line.log.append_columns(
                    *place, None, [r.value or b"" for r in records],
                    [r.log_time_ms for r in records],
                )  # fmt: skip


def measure(driver: Driver, records: int, batch: int) -> dict[str, float]:
    """Drive so many records in batches: rates, and the time of a batch."""
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
        "events_per_core_s": done / cpu_s,
        "cpu_us_per_event": 1e6 * cpu_s / done,
        "p50_ms": 1e3 * p50,
        "p99_ms": 1e3 * p99,
    }


def measure_calmly(driver: Driver, records: int, batch: int) -> dict[str, float]:
    """The middle one of three stretches, by CPU time: neighbours on the machine disturb one."""
    stretches = [measure(driver, records // STRETCHES, batch) for _ in range(STRETCHES)]
    return sorted(stretches, key=lambda each: each["cpu_us_per_event"])[STRETCHES // 2]


def measure_lone(line: Line) -> dict[str, float]:
    """Milliseconds that one claim takes in an engine of its own, bytes to sealed decision."""
    engine = line.engine()
    records = line.log.read(ClaimFiled.topic, 0, 0, LONE_WARM + LONE)
    times_ms: list[float] = []
    for at in range(len(records)):
        batch = records[at : at + 1]
        plan = plan_of(at + 1, batch, line.champion, NOW_MS)
        began = perf_counter()
        engine.step(plan, batch)
        times_ms.append(1e3 * (perf_counter() - began))
    p50, p99 = np.percentile(times_ms[LONE_WARM:], [50, 99]).tolist()
    return {"p50_ms": p50, "p99_ms": p99}


def measure_stages(driver: Driver, scorer: Scorer, records: int) -> dict[str, float]:
    """CPU microseconds an event by stage; the wrappers stay, so this comes last."""
    watch, engine = Stopwatch(), driver.engine
    duty = getattr(driver, "_duty")  # noqa: B009 - a look inside, on purpose
    for owner, name, stage in (
        (getattr(driver, "_source"), "poll", "read"),  # noqa: B009
        (getattr(driver, "_journal"), "append", "journal"),  # noqa: B009
        (engine.wire, "read", "decode"),
        (engine.intake, "take", "features"),
        (scorer, "margins", "score"),
        (scorer, "probabilities", "score"),
        (engine.decider, "_explain", "explain"),
        (getattr(engine, "_drift"), "count", "drift"),  # noqa: B009
        (getattr(engine, "_drift"), "closed", "drift"),  # noqa: B009
        (engine.decider, "_sort_out", "decide and seal"),
        (engine.decider, "_claims", "decide and seal"),
        (engine.decider, "_rows", "rows"),
        (driver, "_flush", "offline store"),
        (getattr(duty, "_sink"), "emit", "emit"),  # noqa: B009
        (driver, "_snapshot", "snapshot"),
    ):
        watch.time(owner, name, stage)
    began = process_time()
    done = measure(driver, records, STAGES_BATCH)["events"]
    took = process_time() - began
    split = {stage: 1e6 * seconds / done for stage, seconds in watch.seconds.items()}
    split["rest"] = 1e6 * took / done - sum(split.values())
    return split


class _Small(msgspec.Struct):
    claim_id: str
    score: float
    margin: float
    outcome: str
    reasons: list[float]


def measure_floor(
    scorer: Scorer, values: list[bytes], matrix: NDArray[np.float64], booster: Any = None
) -> float:
    """CPU microseconds an event of decode, predict, explain 5 % and encode, and nothing else.

    With a booster on XGBoost itself: the plain loop that one would write.
    """
    import xgboost

    def by_kernels(rows: NDArray[np.float64], picked: NDArray[np.float64]) -> tuple[Any, Any]:
        return scorer.margins(rows), scorer.contributions(picked)

    def by_xgboost(rows: NDArray[np.float64], picked: NDArray[np.float64]) -> tuple[Any, Any]:
        margins = booster.inplace_predict(rows, predict_type="margin")
        return margins, booster.predict(xgboost.DMatrix(picked, nthread=1), pred_contribs=True)

    predict = by_xgboost if booster else by_kernels
    spent_s = []
    for _ in range(STRETCHES):
        began_s = process_time()
        _plain_loop(scorer, values, matrix, predict)
        spent_s.append(process_time() - began_s)
    return 1e6 * median(spent_s) / len(values)


def _plain_loop(
    scorer: Scorer, values: list[bytes], matrix: NDArray[np.float64], predict: Any
) -> None:
    decode, encode = msgspec.json.Decoder(ClaimFiled).decode, msgspec.json.Encoder().encode
    for start in range(0, len(values), STAGES_BATCH):
        claims = [decode(value) for value in values[start : start + STAGES_BATCH]]
        rows = matrix[start : start + STAGES_BATCH]
        margins, shares = predict(rows, rows[::20])
        scores = scorer.probabilities(margins).tolist()
        told = np.sort(shares, axis=1)[:, :4].tolist()
        for i, (claim, score, margin) in enumerate(
            zip(claims, scores, margins.tolist(), strict=True)
        ):
            reasons = told[i // 20] if i % 20 == 0 else []
            encode(_Small(claim.claim_id, score, margin, "approve", reasons))


def run(policies: int, warm: int, claims: int) -> dict[str, Any]:
    """The whole measurement."""
    import xgboost

    total = warm + claims * (len(BATCHES) + 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scorer = make_champion(folder / "models")
        line = open_line(folder, policies, scorer)
        fill_log(line, events(policies, total))
        driver = line.driver()
        with rare_collections():
            measure(driver, warm, BATCHES[0])
            rates = [measure_calmly(driver, claims, batch) for batch in BATCHES]
            lone = measure_lone(line)
            stages = measure_stages(driver, scorer, claims)
            counts, peak = driver.counts, peak_mb()
            values = [
                record.value or b"" for record in line.log.read(ClaimFiled.topic, 0, 0, 10_000)
            ]
            matrix = _served(line, len(values))
            booster = xgboost.Booster({"nthread": 1})
            booster.load_model(folder / "models/canonical/000001/model.json")
            booster.set_param({"nthread": 1})
            floor = measure_floor(scorer, values, matrix)
            plain = measure_floor(scorer, values[:2000], matrix, booster)
        line.close()
    return {
        "policies": policies,
        "value_bytes": sum(map(len, values)) / len(values),
        "referred_ratio": counts.referred / counts.claims,
        "rates": rates,
        "lone": lone,
        "stages_us": stages,
        "floor_us": floor,
        "plain_xgboost_us": plain,
        "peak_mb": peak,
    }


def _served(line: Line, rows: int) -> NDArray[np.float64]:
    """So many served vectors."""
    features = line.offline().dataset(DECISIONS).head(rows, columns=["features"])["features"]
    return np.asarray(features.combine_chunks().flatten()).reshape(rows, -1)


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""
    print(f"{found['value_bytes']:.0f} B a claim, {100 * found['referred_ratio']:.1f} % referred,"
          f" {found['policies']:,} policies, peak {found['peak_mb']:.0f} MB")  # fmt: skip
    print("\nbatch   events/s   events/s and core   CPU us/event   p50 ms   p99 ms")
    for rate in found["rates"]:
        print(f"{rate['batch']:5.0f} {rate['events_per_s']:10,.0f}"
              f" {rate['events_per_core_s']:19,.0f} {rate['cpu_us_per_event']:14.1f}"
              f" {rate['p50_ms']:8.2f} {rate['p99_ms']:8.2f}")  # fmt: skip
    print(f"\na lone claim in process: p50 {found['lone']['p50_ms']:.2f} ms,"
          f" p99 {found['lone']['p99_ms']:.2f} ms")  # fmt: skip
    print(f"\nCPU us an event by stage, batches of {STAGES_BATCH}")
    for stage, us in sorted(found["stages_us"].items(), key=lambda each: -each[1]):
        print(f"  {stage:16s} {us:6.2f}")
    ours = next(r for r in found["rates"] if r["batch"] == STAGES_BATCH)["cpu_us_per_event"]
    floor, plain = found["floor_us"], found["plain_xgboost_us"]
    print(f"\nfloor (decode, forest, SHAP, encode): {floor:.1f} us;"
          f" the whole line costs {ours / floor:.1f} times as much"
          f"\nplain loop on XGBoost, no windows: {plain:.1f} us,"
          f" {plain / ours:.1f} times the whole line")  # fmt: skip


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Throughput of the whole line.")
    parser.add_argument("--policies", type=int, default=100_000)
    parser.add_argument("--warm", type=int, default=120_000, help="events before measuring")
    parser.add_argument("--events", type=int, default=60_000, help="events for each batch size")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = run(chosen.policies, chosen.warm, chosen.events)
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


if __name__ == "__main__":
    main()
