"""Measure the cost of exact SHAP contributions by the number of rows explained at once.

    python -m benchmarks.explain_rate            a table
    python -m benchmarks.explain_rate --json     the same for a program

Figures are medians of CPU time. The rows have the thresholds of the model's trees, and values next
to them, as feature values.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.champion import NAME
from benchmarks.command import command
from models.kernels.forest import Forest
from models.kernels.shap import Contributions
from models.registry.adapters.folder import FolderRegistry
from models.self_check import check_rows

COUNTS = (1, 8, 16, 25, 32, 64, 256)
REPETITIONS, REPETITION_ROWS = 41, 256


def cost_us(tables: Contributions, forest: Forest, count: int) -> float:
    """CPU microseconds a row when `count` rows are explained at once."""
    rows = check_rows(forest, count)
    calls = max(1, REPETITION_ROWS // count)
    tables.contributions(rows)
    spent_s = []
    for _ in range(REPETITIONS):
        began_s = process_time()
        for _ in range(calls):
            tables.contributions(rows)
        spent_s.append(process_time() - began_s)
    return median(spent_s) / (calls * count) * 1e6


def run(models: Path) -> list[dict[str, float]]:
    """Measure the cost at each number of rows."""
    forest = Forest.from_xgboost_json(FolderRegistry(models, NAME).load(1).model_json)
    tables = Contributions.of(forest)
    return [{"rows": count, "us_per_row": cost_us(tables, forest, count)} for count in COUNTS]


def show(found: list[dict[str, float]]) -> None:
    """Print the figures as a table."""
    print("rows at once   us a row")
    for each in found:
        print(f"{each['rows']:12d} {each['us_per_row']:10.1f}")


if __name__ == "__main__":
    command(__doc__ or "", run, show)
