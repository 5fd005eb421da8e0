"""Measure the time of a single claim, from its bytes to the sealed decision, without a log.

    python -m benchmarks.lone            a table
    python -m benchmarks.lone --json     the same for a program

Claims go through an engine in this process, one at a time. Referred claims are explained in the
same step and are counted apart. The time of the model's kernels for a single row is measured too.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
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
    scorer = load_champion(models)
    source = (each for each in events(policies, warm + claims) if each.topic == ClaimFiled.topic)
    sent = list(islice(source, warm + claims))
    decided_ms: list[float] = []
    explained_ms: list[float] = []
    with TemporaryDirectory() as folder, rare_collections():
        line = open_line(Path(folder), policies, scorer)
        engine = line.engine()
        records = as_records(sent, {})
        say("one claim after the other ...")
        for at, record in enumerate(records):
            plan = plan_of(at + 1, [record], line.champion, NOW_MS)
            began_s = perf_counter()
            effects = engine.step(plan, [record])
            took_ms = 1e3 * (perf_counter() - began_s)
            if at >= warm:
                (explained_ms if effects.counts.referred else decided_ms).append(took_ms)
        line.close()
    forest = Forest.from_xgboost_json(FolderRegistry(models, NAME).load(1).model_json)
    return {
        "decided": _percentiles(decided_ms),
        "explained": _percentiles(explained_ms),
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
    for name, what in (("decided", "decided"), ("explained", "referred and explained")):
        each = found[name]
        print(f"{what:23s} {each['claims']:7,} {each['p50_ms']:8.2f} {each['p99_ms']:8.2f}")
    print(f"\none row: forest {found['forest_row_us']:.1f} us, SHAP {found['shap_row_us']:.1f} us")


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        warm=(2_000, "claims before measuring"),
        claims=(6_000, "claims measured"),
    )  # fmt: skip
