"""One side of `benchmarks.beside`: measure short stretches of the canonical workload on request.

This program is run with the imports of a checkout, which may be an older one than the checkout that
this file lies in. So it uses only names that the benchmarks of all commits since 4e4f9bf have.

Standard input: first `{"warm": ..., "events": ...}`, then for each stretch a line `{batch:
events}`. Standard output: `{"policies": ...}` when the stream is warm, then the rates of each
stretch.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from benchmarks.canonical import events
from benchmarks.champion import load_champion, open_line, publish_elsewhere
from benchmarks.throughput import fill_log

POLICIES = 50_000
NEVER = 10**9


def stretch(driver: Any, batch: int, least: int) -> dict[str, float]:
    """Drive at least a number of records in batches; returns CPU time and rate."""
    done, began_s, cpu_s = 0, perf_counter(), process_time()
    while done < least:
        done += driver.step(batch)
    cpu_s, seconds = process_time() - cpu_s, perf_counter() - began_s
    return {
        "batch": batch,
        "events": done,
        "cpu_us_per_event": 1e6 * cpu_s / done,
        "events_per_s": done / seconds,
    }


def main() -> None:
    """Warm a stream up, then measure a stretch for each line of standard input."""
    sizes = json.loads(sys.stdin.readline())
    with TemporaryDirectory() as name:
        publish_elsewhere(Path(name) / "models")
        line = open_line(Path(name) / "line", POLICIES, load_champion(Path(name) / "models"))
        fill_log(line, events(POLICIES, sizes["warm"] + sizes["events"]))
        driver = line.driver(snapshot_every_records=NEVER)
        stretch(driver, 2000, sizes["warm"])
        gc.disable()  # batches make no reference cycles; a collection would hit one side only
        print(json.dumps({"policies": POLICIES}), flush=True)
        for request in sys.stdin:
            asked = json.loads(request)
            rates = [stretch(driver, int(batch), least) for batch, least in asked.items()]
            print(json.dumps(rates), flush=True)
        line.close()


if __name__ == "__main__":
    main()
