"""Measure the time of a single claim, from its bytes to the sealed decision, without a log.

    python -m benchmarks.lone            a table
    python -m benchmarks.lone --json     the same for a program

Claims go through an engine in this process, one at a time. Referred claims are explained in the
same step and are counted apart. Looks (`Engine.look`) are at the claims behind those, each before
it is decided on. The time of the model's kernels for a single row is measured too.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np

from benchmarks.canonical import as_records, events
from benchmarks.champion import NAME, load_champion, open_line
from benchmarks.command import command, say
from benchmarks.line import NOW_MS
from claimtrace_examples.auto_claims import ClaimFiled
from models.kernels.forest import Forest
from models.registry.adapters.folder import FolderRegistry
from models.self_check import check_rows
from stream.adapters.process.garbage import rare_collections
from stream.journal.plan import plan_of

ROWS: Final = 256


def run(models: Path, *, policies: int, warm: int, claims: int) -> dict[str, Any]:
    """Measure single claims, and the model's kernels on a single row."""
    scorer, looks = load_champion(models), claims // 2
    source = (
        each for each in events(policies, warm + claims + looks) if each.topic == ClaimFiled.topic
    )
    sent = list(islice(source, warm + claims + looks))
    decided_ms: list[float] = []
    explained_ms: list[float] = []
    decided_cpu_ms: list[float] = []
    looked_ms: list[float] = []
    looked_cpu_ms: list[float] = []
    with TemporaryDirectory() as folder, rare_collections():
        line = open_line(Path(folder), policies, scorer)
        engine = line.engine()
        records = as_records(sent, {})
        say("one claim after the other ...")
        for at, record in enumerate(records):
            plan = plan_of(at + 1, [record], line.champion, NOW_MS)
            if at >= warm + claims:
                began_s, cpu_s = perf_counter(), process_time()
                (looked,) = engine.look([record])
                took_s, cpu_s = perf_counter() - began_s, process_time() - cpu_s
                assert looked.decision, "a look at a new claim has a decision"
                if engine.step(plan, [record]).counts.referred == 0:
                    looked_ms.append(1e3 * took_s)
                    looked_cpu_ms.append(1e3 * cpu_s)
                continue
            began_s, cpu_s = perf_counter(), process_time()
            effects = engine.step(plan, [record])
            took_s, cpu_s = perf_counter() - began_s, process_time() - cpu_s
            if at >= warm:
                is_referred = effects.counts.referred > 0
                (explained_ms if is_referred else decided_ms).append(1e3 * took_s)
                if not is_referred:
                    decided_cpu_ms.append(1e3 * cpu_s)
        line.close()
    forest = Forest.from_xgboost_json(FolderRegistry(models, NAME).load(1).model_json)
    return {
        "decided": _percentiles(decided_ms),
        "explained": _percentiles(explained_ms),
        "looked": _percentiles(looked_ms),
        "decided_cpu_ms": median(decided_cpu_ms),
        "looked_cpu_ms": median(looked_cpu_ms),
        "forest_row_us": row_us(forest.margins, forest),
        "shap_row_us": row_us(scorer.contributions, forest),
    }


def row_us(work: Any, forest: Forest) -> float:
    """Measure the median time of a kernel for one row, in microseconds."""
    rows = check_rows(forest, ROWS)
    times = []
    for at in range(ROWS):
        began_s = perf_counter()
        work(rows[at : at + 1])
        times.append(perf_counter() - began_s)
    return 1e6 * median(times)


def _percentiles(times_ms: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times_ms, [50, 99]).tolist()
    return {"claims": len(times_ms), "p50_ms": p50, "p99_ms": p99}


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print("a lone claim             claims   p50 ms   p99 ms")
    for name, what in (
        ("decided", "decided"),
        ("explained", "referred and explained"),
        ("looked", "looked at"),
    ):
        each = found[name]
        print(f"{what:23s} {each['claims']:7,} {each['p50_ms']:8.2f} {each['p99_ms']:8.2f}")
    ratio = found["looked_cpu_ms"] / found["decided_cpu_ms"]
    print(f"\nCPU of a look: {found['looked_cpu_ms']:.2f} ms, {ratio:.2f} times a decision's")
    print(f"one row: forest {found['forest_row_us']:.1f} us, SHAP {found['shap_row_us']:.1f} us")


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        warm=(2_000, "claims before measuring"),
        claims=(6_000, "claims measured; half as many are looked at"),
    )  # fmt: skip
