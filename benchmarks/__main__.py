"""Run all benchmarks, keep their figures in one file of JSON, and make docs/benchmarks.md from it.

    python -m benchmarks                           all parts: a quarter of an hour
    python -m benchmarks --only throughput lone    some parts
    python -m benchmarks --json FILE               where figures go, claimtrace-data/bench.json
    python -m benchmarks --docs                    also write the tables into docs/benchmarks.md
    python -m benchmarks --tables FILE             the tables of an earlier run; measures nothing
    python -m benchmarks --beside CHECKOUT         compare two commits: see `benchmarks.beside`

Each part is a program of its own (`python -m benchmarks.<module>`), one after the other, so that
none carries the memory or the warm kernels of another. Its progress is shown while it runs. Its
figures are added to the file when it ends, so the file keeps the figures of other parts when a run
has `--only` or is cut short. Ctrl-C ends the running part and the servers that it started. The file
also has the CPU time that other programs used meanwhile: above a tenth of a core the figures are
called disturbed.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import beside
from benchmarks.command import clean_end, model_folder, say
from benchmarks.machine import DISTURBED_CORES, Machine, cpu_of_others, machine
from benchmarks.plot import draw
from benchmarks.tables import filled, tables
from benchmarks.worker import ROOT
from claimtrace.errors import ClaimtraceError

PARTS: Final = {
    "throughput": "throughput",
    "stages": "stages",
    "lone": "lone",
    "explain": "explain_rate",
    "latency": "latency",
    "human": "human",
    "kafka": "kafka_rate",
    "kinesis": "kinesis_rate",
    "scale": "scale",
    "peers": "peers_rate",
}
"""Part -> its module."""

FILE: Final = Path("claimtrace-data/bench.json")
BESIDE_FILE: Final = Path("claimtrace-data/beside.json")
PAGE: Final = ROOT / "docs" / "benchmarks.md"
PICTURE: Final = ROOT / "docs" / "images" / "scale.svg"
END_TIMEOUT_S: Final = 60


def main(arguments: list[str] | None = None) -> int:
    """Measure what the arguments ask for, print tables; 0 when there are figures of all of it."""
    chosen = _parsed(arguments)
    if chosen.tables:
        _show(json.loads(chosen.tables.read_text()), chosen.docs)
        return 0
    file = chosen.json or (BESIDE_FILE if chosen.beside else FILE)
    try:
        with clean_end():
            return _beside(chosen, file) if chosen.beside else _parts(chosen, file)
    except KeyboardInterrupt:
        say(f"stopped; {file} has what was measured" if file.exists() else "stopped")
        return 130


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The chosen options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--models", type=Path, help="where `benchmarks.champion` published")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="print tables, measure nothing")
    parser.add_argument("--docs", action="store_true", help="write tables and picture into docs/")
    two = parser.add_argument_group("comparing two checkouts")
    two.add_argument("--beside", type=Path, metavar="CHECKOUT",
                     help="compare throughput with that of another checkout, in turns")  # fmt: skip
    two.add_argument("--turns", type=int, default=beside.TURNS, metavar="N",
                     help=f"turns of both, default {beside.TURNS}")  # fmt: skip
    two.add_argument("--at-least", type=float, default=0.0, metavar="RATIO",
                     help="end with code 1 when the median ratio is below")  # fmt: skip
    chosen = parser.parse_args(arguments)
    if chosen.turns < beside.LEAST_TURNS:
        parser.error(f"--turns: at least {beside.LEAST_TURNS}, or a median tells little")
    return chosen


def _parts(chosen: argparse.Namespace, file: Path) -> int:
    """Run the parts one after the other."""
    found = _begun(file)
    with model_folder(chosen.models) as models:
        failed = [name for name in chosen.only if not _run(name, models, found, file)]
    _show(found, chosen.docs)
    for name in failed:
        say(f"{name} failed")
    return 1 if failed else 0


def _beside(chosen: argparse.Namespace, file: Path) -> int:
    """Compare this checkout with another one."""
    try:
        found = beside.compare(chosen.beside, ROOT, chosen.turns, file)
    except ClaimtraceError as error:
        say(str(error))
        return error.exit_code
    print(beside.table(found))
    ratio = beside.Spread(**found["ratios"][beside.ALL])
    if ratio.middle >= chosen.at_least:
        return 0
    doubt = "; a quarter of the turns is not, so take more --turns or an idle machine to be sure"
    say(f"the median ratio {ratio.middle:.3f} is below {chosen.at_least:g}"
        + (doubt if ratio.upper >= chosen.at_least else ""))  # fmt: skip
    return 1


def _show(found: dict[str, Any], in_docs: bool) -> None:
    """Print the tables; `in_docs`: also write them and the picture into docs/."""
    print(tables(found))
    if not in_docs:
        return
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    if "scale" in found["parts"]:
        draw(found["parts"]["scale"]["figures"], PICTURE)


def _begun(path: Path) -> dict[str, Any]:
    """Read the file of an earlier run, if that ran on this machine; else begin an empty one."""
    here = machine()
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        if found.get("machine") == here:
            return found
    return {"machine": here, "parts": {}}


def _run(name: str, models: Path, found: dict[str, Any], path: Path) -> bool:
    """Run one part, and add its figures to the file; returns whether it succeeded."""
    say(f"== {name}")
    command = [sys.executable, "-m", f"benchmarks.{PARTS[name]}", "--json", "--models", str(models)]
    before, began_s = Machine.now(), time.monotonic()
    running = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C is passed on below, as a single SIGTERM
    )  # fmt: skip
    try:
        said, _ = running.communicate()
    except KeyboardInterrupt:
        running.send_signal(signal.SIGTERM)
        try:
            running.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
        raise
    if running.returncode and not said.strip():
        return False
    others = cpu_of_others(before, Machine.now())
    if others > DISTURBED_CORES:
        say(
            f"other programs took {others:.1f} cores meanwhile: the figures of {name} are disturbed"
        )
    found["parts"][name] = {
        "measured_at": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(time.monotonic() - began_s),
        "cores_of_others": round(others, 2),
        "figures": json.loads(said),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    return not running.returncode


if __name__ == "__main__":
    sys.exit(main())
