"""All benchmarks in one run, one file of JSON, the tables of docs/benchmarks.md and its picture.

    python -m benchmarks                           everything: a quarter of an hour
    python -m benchmarks --only throughput lone    some parts
    python -m benchmarks --json FILE               where the figures go, claimtrace-data/bench.json
    python -m benchmarks --docs                    also write the tables into docs/benchmarks.md
    python -m benchmarks --tables FILE             the tables of an earlier run; measures nothing

Each part is a program of its own (`python -m benchmarks.<module>`), one after the other, so that
none carries the memory or the warm kernels of another. What it says while it runs is passed on; its
figures are added to the file when it ends, so that `--only`, or a run that was cut short, keeps the
others. Ctrl-C ends the part that runs, with its servers. What other programs took from the machine
meanwhile is written down: above a tenth of a core the figures are disturbed.
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

from benchmarks.command import clean_end, model_folder, say
from benchmarks.machine import Machine, cpu_of_others, machine
from benchmarks.plot import draw
from benchmarks.tables import filled, tables
from benchmarks.worker import ROOT

PARTS: Final = {
    "throughput": "throughput",
    "stages": "stages",
    "lone": "lone",
    "explain": "explain_rate",
    "latency": "latency",
    "kafka": "kafka_rate",
    "kinesis": "kinesis_rate",
    "scale": "scale",
    "peers": "peers_rate",
}
"""Part -> its module; `scale` trains a model of its own."""

DISTURBED_CORES: Final = 0.1
FILE: Final = Path("claimtrace-data/bench.json")
PAGE: Final = ROOT / "docs" / "benchmarks.md"
PICTURE: Final = ROOT / "docs" / "images" / "scale.svg"
END_TIMEOUT_S: Final = 60


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, write the file, print the tables; 0 when every part has figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE")
    parser.add_argument("--models", type=Path, help="where `benchmarks.champion` published")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="print tables, measure nothing")
    parser.add_argument("--docs", action="store_true", help="write tables and picture into docs/")
    chosen = parser.parse_args(arguments)
    if chosen.tables:
        _show(json.loads(chosen.tables.read_text()), chosen.docs)
        return 0
    found = _begun(chosen.json)
    try:
        with clean_end(), model_folder(chosen.models) as models:
            failed = [name for name in chosen.only if not _run(name, models, found, chosen.json)]
    except KeyboardInterrupt:
        say(f"stopped; {chosen.json} has what was measured")
        return 130
    _show(found, chosen.docs)
    for name in failed:
        say(f"{name} failed")
    return 1 if failed else 0


def _show(found: dict[str, Any], in_docs: bool) -> None:
    """Print the tables; into the page and the picture too if asked for."""
    print(tables(found))
    if not in_docs:
        return
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    if "scale" in found["parts"]:
        draw(found["parts"]["scale"]["figures"], PICTURE)


def _begun(path: Path) -> dict[str, Any]:
    """The file as it is, when it is of this machine; else an empty one."""
    here = machine()
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        if found.get("machine") == here:
            return found
    return {"machine": here, "parts": {}}


def _run(name: str, models: Path, found: dict[str, Any], path: Path) -> bool:
    """Run one part and write its figures down; whether it had any."""
    say(f"== {name}")
    command = [sys.executable, "-m", f"benchmarks.{PARTS[name]}", "--json"]
    if name != "scale":
        command += ["--models", str(models)]
    before, began_s = Machine.now(), time.monotonic()
    running = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C is passed on below, once
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
