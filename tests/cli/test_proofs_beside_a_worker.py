"""Proofs and doctor beside a worker at work: nothing differs, and they say how far they went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.worlds.damaged_folder import Told, ask

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL_BATCHES = {"CLAIMTRACE_STREAM__BATCH_RECORDS": "10", "CLAIMTRACE_STREAM__OFFLINE_EVERY": "1s"}


def test_nothing_differs_while_a_worker_decides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    made = ("simulate", "--days", "30", "--claims-per-day", "100", "--policies", "500")
    assert ask(folder, *made).code == 0
    worker = subprocess.Popen(
        [sys.executable, "-m", "claimtrace", "--folder", str(folder), "stream"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), **SMALL_BATCHES},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    rounds: list[dict[str, Told]] = []
    try:
        wait_for_offline(worker, folder)
        while len(rounds) < 2:
            rounds.append(
                {
                    "chain": ask(folder, "verify", "--chain", "--json"),
                    "verify": ask(folder, "verify", "--json"),
                    "diff": ask(folder, "features", "diff", "--json"),
                    "doctor": ask(folder, "doctor"),
                }
            )
    finally:
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=120)
    assert worker.returncode == 0, said
    for each in rounds:
        for name, told in each.items():
            assert told.code == 0, f"{name}: {told.words}"
    decisions = [each["verify"].json["decisions"] for each in rounds]
    assert decisions == sorted(decisions)
    at_rest = ask(folder, "verify", "--require", "journal,state,offline", "--json")
    assert at_rest.code == 0, at_rest.words
    assert at_rest.json["later"] == 0
    assert at_rest.json["decisions"] >= decisions[-1] > 0
    # without the bound, what came after the start would have differed
    assert at_rest.json["decisions"] > decisions[0], "the worker was idle: nothing was tested"


def wait_for_offline(worker: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the worker has decided, and stored rows."""
    until_s = time.monotonic() + 180
    while not list((folder / "offline").glob("decisions/*.parquet")):
        assert worker.poll() is None, worker.communicate()[1]
        assert time.monotonic() < until_s, "no row was stored"
        time.sleep(0.2)
