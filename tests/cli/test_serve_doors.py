"""Doors beside workers: they know no claim, ask a server with a worker, and let the log decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.events import Record
from cli.__main__ import main
from tests.worlds.serve_process import ServeProcess

pytestmark = [pytest.mark.slow]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def worker(folder: Path, tmp_path: Path) -> Iterator[ServeProcess]:
    with ServeProcess(folder, tmp_path / "worker").until_ready() as server:
        yield server


def claim(name: str, cents: int = 1_000) -> dict[str, Any]:
    return {
        "claim_id": name, "policy_id": "pol-1", "filed_at": "2025-11-27T22:33:26Z",
        "incident_at": "2025-11-27T06:47:00Z", "total_claim_cents": cents,
    }  # fmt: skip


def on_log(folder: Path, topic: str) -> list[Record]:
    with EmbeddedLog(folder / "log.db", to_read=True) as log:
        return [r for p, end in enumerate(log.ends(topic)) for r in log.read(topic, p, 0, end or 1)]


def test_the_log_decides_between_two_doors(
    folder: Path, worker: ServeProcess, tmp_path: Path
) -> None:
    settings = {"SERVE__LOOKUP": str(worker.client.base_url)}
    doors = [
        ServeProcess(folder, tmp_path / f"door-{n}", "--no-worker", settings=settings).until_ready()
        for n in range(2)
    ]
    with doors[0], doors[1], ThreadPoolExecutor(24) as pool:
        # each id comes through both doors at once: half of them with other bytes
        names = [f"c-{n}" for n in range(12)]
        jobs = {
            (name, at): pool.submit(door.decide_patiently, claim(name, 1_000 + at * (n % 2)))
            for n, name in enumerate(names)
            for at, door in enumerate(doors)
        }
        answers = {asked: job.result() for asked, job in jobs.items()}
        sealed = {json.loads(r.value or b"")["claim_id"]: r.value
                  for r in on_log(folder, DECISIONS_TOPIC)}  # fmt: skip
        assert sorted(sealed) == sorted(names)
        assert len(on_log(folder, DECISIONS_TOPIC)) == len(names), "one decision a claim"
        for n, name in enumerate(names):
            both = [answers[name, at] for at in range(2)]
            good = [each for each in both if each.status_code == 200]
            assert all(each.content == sealed[name] for each in good)
            rest = [(each.status_code, each.json()["code"]) for each in both if each not in good]
            assert rest == ([(409, "id_conflict")] if n % 2 else []), both[0].text + both[1].text
        late = doors[1].decide_patiently(claim("c-0"))
        assert late.headers["idempotent-replayed"] == "true"
        assert doors[0].client.get("/v1/decisions/c-1").content == sealed["c-1"]
        scores = doors[0].client.post("/v1/scores", json=claim("new"))
        assert scores.status_code == 501
        refused = doors[0].decide_patiently(claim("no spaces"))
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_id")
        # who can't ask doesn't guess
        before = len(on_log(folder, "claims.filed"))
        worker.kill()
        nobody = doors[0].decide(claim("later"))
        assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "1"), nobody.text
        assert len(on_log(folder, "claims.filed")) == before
        assert doors[0].stop() == 0
    assert all(dict(r.headers)["x-dead-reason"] == b"id_conflict"
               for r in on_log(folder, DEAD_TOPIC))  # fmt: skip
    assert main(["--folder", str(folder), "verify"]) == 0


def test_a_door_without_a_lookup_refuses_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    with ServeProcess(folder, tmp_path / "worker").until_ready() as server:
        assert server.decide_patiently(claim("c-1")).status_code == 200
    with ServeProcess(folder, tmp_path / "door", "--no-worker").until_ready() as door:
        found: httpx.Response = door.decide(claim("c-2"))
        assert found.status_code == 503
        assert "serve.lookup" in found.json()["detail"]
        assert door.client.get("/v1/decisions/c-1").status_code == 200
        assert len(on_log(folder, "claims.filed")) == 1
