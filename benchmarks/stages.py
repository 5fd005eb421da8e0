"""Measure CPU microseconds an event by stage, at batches of 500 and of 2000.

    python -m benchmarks.stages            a table
    python -m benchmarks.stages --json     the same for a program

The methods in `PLACES`, private ones among them, are replaced by timed ones; a test looks whether
they are all there.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, Final

from benchmarks.canonical import events
from benchmarks.champion import load_champion, open_line
from benchmarks.command import command, say
from benchmarks.stopwatch import Stopwatch
from benchmarks.throughput import SNAPSHOT_EVERY, fill_log, measure
from stream.adapters.process.garbage import rare_collections
from stream.offline_rows.rows import PendingRows
from stream.worker.driver import Driver

BATCHES: Final = (500, 2000)
PLACES: Final = (
    ("_source.poll", "read"),
    ("_journal.append", "journal"),
    ("engine.decoder.read", "decode"),
    ("engine.intake.take", "features"),
    ("scorer.margins", "score"),
    ("scorer.probabilities", "score"),
    ("engine.decider._explain", "explain"),
    ("engine._drift.count", "drift"),
    ("engine._drift.judge_closed", "drift"),
    ("engine.decider._count_records", "decide and seal"),
    ("engine.decider._decide_claims", "decide and seal"),
    ("engine.decider._offline_rows", "rows"),
    ("_flush", "offline store"),
    ("_ownership._emit", "emit"),
    ("_snapshotting.begin", "snapshot"),
    ("_snapshotting.end", "snapshot"),
    ("_snapshotting.run_maintenance", "maintenance"),
)


def time_stages(watch: Stopwatch, driver: Driver, scorer: object) -> None:
    """Replace the methods in `PLACES`, of a driver or of the scorer, by timed ones."""
    for path, stage in PLACES:
        *way, name = path.split(".")
        owner: Any = driver
        if way and way[0] == "scorer":
            owner, way = scorer, way[1:]
        for step in way:
            owner = getattr(owner, step)
        watch.time(owner, name, stage)
    watch.time(PendingRows, "add", "offline store")  # each table has an instance of its own


def run(models: Path, *, policies: int, warm: int, events_each: int) -> dict[str, Any]:
    """Measure each batch size on the same stream."""
    scorer = load_champion(models)
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder, rare_collections():
        line = open_line(Path(folder), policies, scorer)
        say("filling the log ...")
        fill_log(line, events(policies, warm + events_each * len(BATCHES)))
        # each stretch has one snapshot; its share at the default settings is computed below
        driver, watch = line.driver(snapshot_every_records=events_each), Stopwatch()
        say("warming up ...")
        measure(driver, warm, max(BATCHES))
        time_stages(watch, driver, scorer)
        for batch in BATCHES:
            say(f"batches of {batch} ...")
            watch.reset()
            cpu_s = process_time()
            done = measure(driver, events_each, batch)["events"]
            cpu_s = process_time() - cpu_s
            split = {stage: 1e6 * seconds / done for stage, seconds in watch.seconds.items()}
            split["rest"] = 1e6 * cpu_s / done - sum(split.values())
            for stage in ("snapshot", "maintenance"):  # one round for each snapshot
                split[stage] *= events_each / SNAPSHOT_EVERY
            found[str(batch)] = split
        line.close()
    return found


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table, the largest first."""
    sizes = list(found)
    print("CPU us an event   " + "".join(f"{'at ' + size:>10s}" for size in sizes))
    for stage in sorted(found[sizes[0]], key=lambda stage: -found[sizes[0]][stage]):
        print(f"{stage:18s}" + "".join(f"{found[size][stage]:10.2f}" for size in sizes))
    print(f"{'all':18s}" + "".join(f"{sum(found[size].values()):10.2f}" for size in sizes))


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        warm=(120_000, "events before measuring"),
        events_each=(100_000, "events for each batch size"),
    )  # fmt: skip
