"""`claimtrace serve` as processes: a worker, and a follower of it, give the same answers.

pytest -m long tests/cli/test_serve_scores.py     the same on a real Kafka
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import require_kafka
from tests.servers.kafka import Cluster

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
SIMULATE = ("simulate", "--days", "8", "--claims-per-day", "30", "--policies", "100")


def environ(folder: Path, source: str) -> dict[str, str]:
    return {**os.environ, "CLAIMTRACE_FOLDER": str(folder), "CLAIMTRACE_SOURCE": source,
            "CLAIMTRACE_SERVE__MAX_BEHIND": "60s"}  # fmt: skip


def command(folder: Path, source: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "claimtrace", *words], cwd=ROOT, check=True, timeout=300,
                   env=environ(folder, source), capture_output=True)  # fmt: skip


@contextmanager
def served(folder: Path, source: str, *more: str) -> Iterator[httpx.Client]:
    """Run `claimtrace serve` on a free port; returns a client of it when it is ready."""
    folder.mkdir(exist_ok=True)
    said = folder / f"said{'-'.join(more)}"
    line = [sys.executable, "-m", "claimtrace", "serve", "--listen", "127.0.0.1:0", *more]
    with said.open("wb") as out:
        process = subprocess.Popen(line, cwd=ROOT, env=environ(folder, source), stdout=out,
                                   stderr=out, stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        until_s = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said.read_text())):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < until_s, said.read_text()
            time.sleep(0.05)
        with httpx.Client(base_url=found[0], timeout=60, trust_env=False) as client:
            while client.get("/ready").status_code != 200:
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < until_s, said.read_text()
                time.sleep(0.05)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, said.read_text()


def a_claim(claim_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "claimtrace_examples/claim.json").read_text())
    return {**found, "claim_id": claim_id}


def without_time(score: Any) -> dict[str, Any]:
    """A score but for the time of the look, which each process takes itself."""
    times = {"log_time_ms", "known_time_ms"}
    found = {name: value for name, value in score.items() if name not in times}
    return {**found, "as_of": {**score["as_of"], "behind_ms": 0}}


def check_both(worker: httpx.Client, follower: httpx.Client) -> None:
    """Ask both the same, before and after a claim is decided."""
    claims = [a_claim(f"ask-{i}") for i in range(5)]
    plans: list[int] = []
    for number in range(2):
        sent = worker.post("/v1/decisions", json=a_claim(f"decide-{number}"),
                           headers={"Prefer": "wait=30"})  # fmt: skip
        assert sent.status_code == 200, sent.text
        until_s = time.monotonic() + PATIENCE_S
        while True:  # the follower comes along when the plan is on the journal
            both = [client.post("/v1/scores", json=claims).json() for client in (worker, follower)]
            at = [one["as_of"]["plan"] for one in both]
            if at[0] == at[1] and at[0] not in plans:
                break
            assert time.monotonic() < until_s, at
            time.sleep(0.05)
        plans.append(at[0])
        scores = [[without_time(p["score"]) for p in one["scores"]] for one in both]
        assert scores[0] == scores[1]
        policy = a_claim("x")["policy_id"]
        shown = [
            client.get(f"/v1/features/policy/{policy}").json() for client in (worker, follower)
        ]
        assert shown[0]["values"] == shown[1]["values"]
        count = next(v for name, v in shown[0]["values"].items() if ".count." in name)
        assert count >= number


def check_batch(client: httpx.Client, lines: Sequence[dict[str, Any]]) -> None:
    """Send a file as a job, and download its answers."""
    body = "".join(json.dumps(line) + "\n" for line in lines)
    job = client.post("/v1/batches?fields=outcome,score", content=body,
                      headers={"content-type": "application/x-ndjson"}).json()  # fmt: skip
    until_s = time.monotonic() + PATIENCE_S
    while (found := client.get(f"/v1/batches/{job['id']}").json())["state"] != "done":
        assert found["state"] in ("queued", "running"), found
        assert time.monotonic() < until_s
        time.sleep(0.1)
    output = client.get(f"/v1/batches/{job['id']}/output").text.splitlines()
    assert [json.loads(line)["claim_id"] for line in output] == [line["claim_id"] for line in lines]
    assert found["answers"] == {"decided": len(lines)}


@pytest.mark.slow
def test_a_worker_and_its_follower_on_one_folder(tmp_path: Path) -> None:
    command(tmp_path, "local", *SIMULATE)
    with ExitStack() as opened:
        worker = opened.enter_context(served(tmp_path, "local"))
        follower = opened.enter_context(served(tmp_path, "local", "--follow"))
        check_both(worker, follower)
        check_batch(follower, [a_claim(f"line-{i}") for i in range(20)])
    with served(tmp_path, "local", "--follow") as again:  # from its own snapshot, without a worker
        assert again.post("/v1/scores", json=a_claim("later")).status_code == 200


@pytest.mark.long
def test_a_follower_on_kafka_with_a_folder_of_its_own(tmp_path: Path) -> None:
    require_kafka()
    with Cluster(tmp_path / "broker") as cluster, ExitStack() as opened:
        source = f"kafka://{cluster.bootstrap}"
        command(tmp_path / "worker", source, "topics", "create")
        worker = opened.enter_context(served(tmp_path / "worker", source))
        follower = opened.enter_context(served(tmp_path / "follower", source, "--follow"))
        check_both(worker, follower)
