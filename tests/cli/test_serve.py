"""`claimtrace serve` as a process: binding decisions over HTTP, killed and started again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.events import Outgoing
from claimtrace.ids import partition_of
from cli.__main__ import main

pytestmark = [pytest.mark.slow]

CLAIMS: Final = "claims.filed"
PARTITIONS: Final = 4
START_S: Final = 120.0


class Server:
    """A process of `claimtrace serve` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, on the port of before if there was one; returns when it is ready."""
        said = self.folder.parent / "said.txt"
        command = [sys.executable, "-m", "claimtrace", "--folder", str(self.folder), "serve",
                   "--listen", f"127.0.0.1:{self.port}"]  # fmt: skip
        with said.open("wb") as to:
            self.process = subprocess.Popen(command, stdout=to, stderr=to)
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            assert self.process.poll() is None, said.read_text()
            found = re.search(r"address=http://127.0.0.1:(\d+)", said.read_text())
            if found is not None:
                self.port = int(found[1])
                try:
                    if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
            time.sleep(0.1)
        raise AssertionError(f"not ready: {said.read_text()}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some decided claims."""
    folder = tmp_path_factory.mktemp("served") / "data"
    assert main(["--folder", str(folder), "simulate", "--days", "5", "--claims-per-day", "20",
                 "--policies", "300"]) == 0  # fmt: skip
    assert main(["--folder", str(folder), "stream", "--until-end"]) == 0
    return folder


@pytest.fixture
def server(history: Path, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "data"
    subprocess.run(["cp", "-r", str(history), str(folder)], check=True)
    found = Server(folder)
    found.start()
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()


def a_claim(folder: Path, claim_id: str, **changed: Any) -> bytes:
    """Return a claim like the newest one of the log, with another id."""
    with EmbeddedLog(folder / "log.db", to_read=True) as log:
        end = log.ends(CLAIMS)[0]
        [newest] = log.read(CLAIMS, 0, end - 1, 1)
    assert newest.value is not None
    return json.dumps({**json.loads(newest.value), "claim_id": claim_id, **changed}).encode()


def on_log(folder: Path, topic: str) -> list[bytes]:
    """Return all values of a topic."""
    with EmbeddedLog(folder / "log.db", to_read=True) as log:
        return [r.value or b"" for p, end in enumerate(log.ends(topic))
                for r in log.read(topic, p, 0, end)]  # fmt: skip


def claims_on_log(folder: Path) -> int:
    return len(on_log(folder, CLAIMS))


def send(url: str, value: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/decisions", content=value, headers=headers, timeout=60)


def test_a_claim_is_decided_once_and_the_answer_is_the_sealed_decision(server: Server) -> None:
    value = a_claim(server.folder, "rest-1")
    first = send(server.url, value, Prefer="wait=30")
    assert first.status_code == 200, first.text
    assert "idempotent-replayed" not in first.headers
    assert first.content in on_log(server.folder, DECISIONS_TOPIC)
    before = claims_on_log(server.folder)

    again = send(server.url, value, Prefer="wait=30")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = send(server.url, a_claim(server.folder, "rest-1", total_claim_cents=5))
    assert (other.status_code, other.json()["code"]) == (409, "id_conflict")
    assert claims_on_log(server.folder) == before, "nothing more was written"

    read = httpx.get(f"{server.url}/v1/decisions/rest-1", timeout=30)
    assert (read.status_code, read.content) == (200, first.content)
    assert httpx.get(f"{server.url}/v1/decisions/nobody", timeout=30).status_code == 404

    assert server.end() == 0
    server.start()
    later = send(server.url, value)
    assert (later.status_code, later.content) == (200, first.content)
    assert later.headers["idempotent-replayed"] == "true"
    other = send(server.url, a_claim(server.folder, "rest-1", total_claim_cents=5))
    assert other.status_code == 409


def test_what_the_gate_refuses_never_comes_onto_the_log(server: Server) -> None:
    before = claims_on_log(server.folder)
    for value, reason in (
        (b"{", "bad_json"),
        (b"", "bad_json"),
        (b'{"filed_at": "2026-01-01T00:00:00Z"}', "missing_field"),
        (a_claim(server.folder, "no spaces"), "bad_id"),
        (a_claim(server.folder, "late", filed_at="2099-01-01T00:00:00Z"), "time_out_of_range"),
    ):
        found = send(server.url, value)
        assert (found.status_code, found.json()["code"]) == (422, reason), found.text
        assert found.json()["hint"]
    large = send(server.url, b" " * (300 * 1024))
    assert large.status_code == 413
    assert claims_on_log(server.folder) == before


def test_who_does_not_want_to_wait_is_told_where_the_decision_will_be(server: Server) -> None:
    found = send(server.url, a_claim(server.folder, "async-1"), Prefer="respond-async")
    assert found.status_code in (200, 202), found.text
    there = found.headers.get("location", "/v1/decisions/async-1")
    for _ in range(300):
        read = httpx.get(f"{server.url}{there}", timeout=30)
        if read.status_code == 200:
            break
        time.sleep(0.1)
    assert read.json()["claim_id"] == "async-1"


def test_decisions_are_heard_as_they_fall_and_from_where_one_left(server: Server) -> None:
    heard: list[tuple[str, str]] = []
    began = threading.Event()

    def listen(last: str, count: int) -> None:
        headers = {"Last-Event-ID": last} if last else {}
        with httpx.stream("GET", f"{server.url}/v1/decisions/stream", headers=headers,
                          timeout=60) as found:  # fmt: skip
            assert found.headers["x-accel-buffering"] == "no"
            cursor = ""
            for line in found.iter_lines():
                began.set()
                if line.startswith("id: "):
                    cursor = line[4:]
                if line.startswith("data: "):
                    heard.append((cursor, json.loads(line[6:])["claim_id"]))
                    if len(heard) >= count:
                        return

    listening = threading.Thread(target=listen, args=("", 1))
    listening.start()
    assert began.wait(30)
    send(server.url, a_claim(server.folder, "sse-1"), Prefer="wait=30")
    listening.join(60)
    assert [name for _, name in heard] == ["sse-1"]
    send(server.url, a_claim(server.folder, "sse-2"), Prefer="wait=30")
    cursor = heard[0][0]
    heard.clear()
    listen(cursor, 1)
    assert [name for _, name in heard] == ["sse-2"], "what fell meanwhile is told first"
    wrong = httpx.get(f"{server.url}/v1/decisions/stream", headers={"Last-Event-ID": "x"})
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    ("claims", "kills"), [(120, 2), pytest.param(5_000, 20, marks=pytest.mark.long)]
)
def test_one_decision_a_claim_whoever_sends_it_and_whatever_is_killed(
    server: Server, claims: int, kills: int
) -> None:
    """A third comes by HTTP, a third from a producer, a third from both at once."""
    ids = [f"mixed-{number}" for number in range(claims)]
    values = {each: a_claim(server.folder, each) for each in ids}
    bodies: dict[str, bytes] = {}
    is_over = threading.Event()

    def by_http(claim_id: str) -> None:
        while claim_id not in bodies:
            try:
                found = send(server.url, values[claim_id], Prefer="wait=10")
            except httpx.HTTPError:
                time.sleep(0.1)
                continue
            assert found.status_code in (200, 202, 503), found.text
            if found.status_code == 200:
                bodies[claim_id] = found.content

    def by_producer(claim_id: str) -> None:
        key = json.loads(values[claim_id])["policy_id"]
        place = partition_of(key, PARTITIONS)
        with EmbeddedLog(server.folder / "log.db", create=False) as log:
            now_ms = time.time_ns() // 1_000_000
            log.append([Outgoing(CLAIMS, place, key.encode(), values[claim_id], now_ms)])

    def killing() -> None:
        for _ in range(kills):
            time.sleep(1.0)
            server.kill()
            server.start()
        is_over.set()

    killer = threading.Thread(target=killing)
    killer.start()
    with ThreadPoolExecutor(16) as pool:
        jobs = []
        for number, claim_id in enumerate(ids):
            if number % 3 != 1:
                jobs.append(pool.submit(by_http, claim_id))
            if number % 3 != 0:
                jobs.append(pool.submit(by_producer, claim_id))
        for job in jobs:
            job.result(timeout=600)
    killer.join()
    assert is_over.is_set()
    wait_until_decided(server, ids)
    assert server.end() == 0

    decided = [value for value in on_log(server.folder, DECISIONS_TOPIC) if b"mixed-" in value]
    found = {msgspec.json.decode(value)["claim_id"]: value for value in decided}
    assert sorted(found) == sorted(ids)
    assert len(decided) == len(ids), "one decision a claim"
    assert all(found[claim_id] == body for claim_id, body in bodies.items())
    assert len(bodies) == sum(number % 3 != 1 for number in range(claims))
    assert not [v for v in on_log(server.folder, DEAD_TOPIC) if b"mixed-" in v]
    assert main(["--folder", str(server.folder), "verify"]) == 0


def wait_until_decided(server: Server, ids: list[str]) -> None:
    for _ in range(600):
        found = {msgspec.json.decode(v)["claim_id"] for v in on_log(server.folder, DECISIONS_TOPIC)}
        if found.issuperset(ids):
            return
        time.sleep(0.2)
    raise AssertionError("not all are decided")


def test_the_losing_bytes_of_a_race_get_a_conflict(server: Server) -> None:
    """Two processes put one id with other bytes on the log; the gate had seen neither."""
    ours = a_claim(server.folder, "race-1")
    theirs = a_claim(server.folder, "race-1", total_claim_cents=77)
    key = json.loads(ours)["policy_id"]
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, server.url, ours, Prefer="wait=30")
        time.sleep(0.5)
        with EmbeddedLog(server.folder / "log.db", create=False) as log:
            log.append([Outgoing(CLAIMS, partition_of(key, PARTITIONS), key.encode(), theirs,
                                 time.time_ns() // 1_000_000)])  # fmt: skip
        os.kill(server.process.pid, signal.SIGCONT)
        found = answer.result(timeout=60)
    decided = [v for v in on_log(server.folder, DECISIONS_TOPIC) if b'"race-1"' in v]
    if found.status_code == 409:
        assert found.content not in decided
    else:  # ours was quicker
        assert decided == [found.content]


def test_a_port_that_is_taken_and_a_wrong_address(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for listen, words in (
        (f"127.0.0.1:{server.port}", "another process has the port"),
        ("here", "is no ADDRESS:PORT"),
        ("0.0.0.0:0", "key"),
    ):
        code = main(["--folder", str(tmp_path / "new"), "serve", "--listen", listen])
        told = " ".join(capsys.readouterr().err.split())
        assert code != 0
        assert words in told, told
