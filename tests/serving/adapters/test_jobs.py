"""Jobs: worked on one at a time by real processes, stopped and gone on with, cancelled, failed."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import UsageError
from serving.adapters.batches.job_store import JobStore
from serving.adapters.batches.runner import JobRunner
from serving.adapters.batches.service import BatchService
from serving.adapters.http.app import build_app
from serving.adapters.http.endpoint import Parts
from serving.batches.job import FINAL, Job

CLOCK = SystemClock()
COPY = """
import pathlib, sys, time
source, output = map(pathlib.Path, sys.argv[1:3])
lines = source.read_text().splitlines()
done = len(output.read_text().splitlines()) if output.exists() else 0
for line in lines[done:]:
    if line.startswith("wait"):
        flag = pathlib.Path(line.split()[1])
        while not flag.exists():
            time.sleep(0.01)
    if line == "fail":
        sys.exit("no more of \\x1b[31mthis")
    with output.open("a") as file:
        file.write(line + "\\n")
print('{"lines": %d, "answers": {"decided": %d}}' % (len(lines), len(lines)))
"""
"""Copies lines, and goes on where it was stopped; `wait FILE` waits for a file, `fail` fails."""


def lines_of(output: Path) -> int:
    return len(output.read_text().splitlines()) if output.exists() else 0


def command(job: Job, source: Path, output: Path) -> list[str]:
    return [sys.executable, "-c", COPY, str(source), str(output)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "batches"


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[TestClient, JobStore]]:
    with opened(folder) as found:
        yield found


class opened:
    """A server's batches on a folder, from start to end."""

    def __init__(self, folder: Path) -> None:
        self.store = JobStore(folder)
        self.runner = JobRunner(self.store, command, lines_of, CLOCK)
        self.service = BatchService(self.store, self.runner, CLOCK)

    def __enter__(self) -> tuple[TestClient, JobStore]:
        self.runner.start()
        return TestClient(build_app(Parts(batches=self.service))), self.store

    def __exit__(self, *_: Any) -> None:
        self.service.close()


def send(client: TestClient, text: str, **more: Any) -> Job:
    answer = client.post("/v1/batches", content=text, headers={"content-type": "text/csv"}, **more)
    assert answer.status_code == 202, answer.text
    job = msgspec.json.decode(answer.content, type=Job)
    assert answer.headers["location"] == f"/v1/batches/{job.id}"
    return job


def until(ready: Callable[[], Any]) -> Any:
    """Wait as long as the machine needs."""
    for _ in range(12_000):
        if found := ready():
            return found
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def state_of(client: TestClient, job: Job) -> Job:
    return msgspec.json.decode(client.get(f"/v1/batches/{job.id}").content, type=Job)


def finished(client: TestClient, job: Job) -> Job:
    return until(lambda: s if (s := state_of(client, job)).state in FINAL else None)


def test_a_file_is_answered_and_downloaded(served: Any) -> None:
    client, _ = served
    job = send(client, "a\nb\n")
    done = finished(client, job)
    assert (done.state, done.in_bytes, done.out_bytes) == ("done", 4, 4)
    assert (done.lines, done.answers) == (2, {"decided": 2})
    found = client.get(f"/v1/batches/{job.id}/output")
    assert found.content == b"a\nb\n"
    assert found.headers["content-type"].startswith("text/csv")
    assert f"claimtrace-{job.id}.csv" in found.headers["content-disposition"]
    assert client.delete(f"/v1/batches/{job.id}").status_code == 200
    assert client.get(f"/v1/batches/{job.id}").status_code == 404


def test_a_failed_one_says_why_in_plain_characters(served: Any) -> None:
    client, _ = served
    job = send(client, "a\nfail\nb\n")
    failed = finished(client, job)
    assert (failed.state, failed.error) == ("failed", "no more of [31mthis")
    answer = client.get(f"/v1/batches/{job.id}/output")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_done")


def test_one_that_runs_and_one_that_waits_are_cancelled(served: Any, tmp_path: Path) -> None:
    client, _ = served
    first, second = send(client, f"a\nwait {tmp_path / 'never'}\n"), send(client, "b\n")
    until(lambda: state_of(client, first).state == "running" or None)
    assert state_of(client, second).state == "queued", "one at a time"
    for job in (second, first):
        assert client.delete(f"/v1/batches/{job.id}").json()["state"] == "cancelled"
    third = send(client, "c\n")
    assert finished(client, third).state == "done"
    assert [job["state"] for job in client.get("/v1/batches").json()["jobs"]] == [
        "done", "cancelled", "cancelled"
    ]  # fmt: skip


def test_a_server_that_ends_goes_on_with_the_next_line(folder: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with opened(folder) as (client, store):
        job = send(client, f"a\nwait {flag}\nb\n")
        until(lambda: lines_of(store.output_of(job)) == 1 or None)
    flag.touch()
    with opened(folder) as (client, store):
        assert finished(client, job).state == "done"
        assert store.output_of(job).read_text() == f"a\nwait {flag}\nb\n"


def test_the_process_of_a_killed_server_is_waited_for(folder: Path, tmp_path: Path) -> None:
    """A second process on the same output would write the lines of the first once more."""
    flag = tmp_path / "flag"
    pid = os.fork()
    if not pid:  # a server that is killed while its job runs
        try:
            with opened(folder) as (client, store):
                job = send(client, f"a\nwait {flag}\nb\n")
                until(lambda: lines_of(store.output_of(job)) == 1 or None)
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with opened(folder) as (client, store):
        job = store.newest()[0]
        until(lambda: state_of(client, job).state == "running" or None)
        flag.touch()
        assert finished(client, job).state == "done"
        assert store.output_of(job).read_text() == f"a\nwait {flag}\nb\n"


def test_what_is_no_file_of_claims_is_refused(served: Any) -> None:
    client, store = served
    for path, headers, status in (
        ("/v1/batches", {"content-type": "image/png"}, 415),
        ("/v1/batches", {}, 415),
        ("/v1/batches", {"content-type": "text/csv", "content-encoding": "br"}, 415),
        ("/v1/batches?as=robbery", {"content-type": "text/csv"}, 400),
        ("/v1/batches?fields=secret", {"content-type": "text/csv"}, 400),
    ):
        assert client.post(path, content="a\n", headers=headers).status_code == status
    assert store.newest() == []
    assert [each for each in store.folder.iterdir() if each.is_dir()] == []


def test_a_file_that_breaks_off_leaves_nothing(folder: Path) -> None:
    async def torn() -> AsyncIterator[bytes]:
        yield b"a\n"
        raise RuntimeError("gone")

    with opened(folder) as (_, store):
        service = BatchService(store, JobRunner(store, command, lines_of, CLOCK), CLOCK)
        with pytest.raises(RuntimeError):
            asyncio.run(service.add(torn(), way="look", form="csv", gzip=False, fields=[], by="a"))
        assert store.newest() == []
        assert [each for each in folder.iterdir() if each.is_dir()] == []


def test_jobs_are_their_senders(folder: Path) -> None:
    with opened(folder) as (client, store):
        job = send(client, "a\n")
        finished(client, job)
        other = store._replace(msgspec.structs.replace(store.get(job.id), by="key:other"))
        assert other.by == "key:other"
        assert client.get(f"/v1/batches/{job.id}").status_code == 404
        assert client.delete(f"/v1/batches/{job.id}").status_code == 404
        assert client.get("/v1/batches").json()["jobs"] == []
        with pytest.raises(UsageError, match="the job is done"):
            store.move(job.id, "running", 0)
