"""What exact contributions cost a row, by how many rows are explained at once.

    python -m benchmarks.explain_rate           trains the canonical model first
    python -m benchmarks.explain_rate FOLDER    takes the one that `benchmarks.champion` published

Medians of CPU time; rows are the model's own thresholds and their neighbours.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from claimtrace.adapters.registry_folder import Registry
from claimtrace.models.contributions import Contributions
from claimtrace.models.forest import Forest
from claimtrace.models.scorer import check_rows

from .champion import NAME, make_champion

COUNTS = (1, 8, 16, 25, 32, 64, 256)
REPETITIONS, REPETITION_ROWS = 41, 256


def cost_us(tables: Contributions, forest: Forest, count: int) -> float:
    """CPU microseconds a row where `count` rows are explained at once."""
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


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            folder = Path(made)
            make_champion(folder)
        forest = Forest.from_xgboost_json(Registry(folder, NAME).load(1).model_json)
    tables = Contributions.of(forest)
    print("rows at once   us a row")
    for count in COUNTS:
        print(f"{count:12d} {cost_us(tables, forest, count):10.1f}")


if __name__ == "__main__":
    main()
