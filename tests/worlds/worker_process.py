"""One real worker on a real broker: started, queried, stopped and killed; and a feed for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from claimtrace.events import Outgoing
from claimtrace.settings.schema import Settings
from producers.adapters.kafka import KafkaSink
from tests.servers.broker import HOST
from tests.servers.kafka import Cluster
from tests.servers.topics import client

ROOT = Path(__file__).resolve().parents[2]


def feed(cluster: Cluster, rows: Sequence[Outgoing], rate: float = 0.0, **kafka: Any) -> None:
    """Produce rows, `rate` a second; returns when all are acknowledged."""
    settings = Settings(source=f"kafka://{cluster.bootstrap}")
    changed = msgspec.structs.replace(settings.kafka, **kafka)
    sink = KafkaSink(msgspec.structs.replace(settings, kafka=changed).kafka_connection)
    began_s, at = time.monotonic(), 0
    while at < len(rows):
        due = int((time.monotonic() - began_s + 0.05) * rate) if rate else len(rows)
        if due > at:
            sink.send(rows[at:due])
            at = min(due, len(rows))
        else:
            time.sleep(0.02)
    sink.flush(60)
    sink.close()


@contextmanager
def feeding(
    cluster: Cluster, rows: Sequence[Outgoing], rate: float, **kafka: Any
) -> Iterator[None]:
    """Run `feed` during the `with` block; leaving waits until all rows are acknowledged."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            feed(cluster, rows, rate, **kafka)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join()
    if failed:
        raise failed[0]


def until(holds: Callable[[], Any], said: Callable[[], str], timeout_s: float = 30.0) -> float:
    """Wait until a condition holds; returns the seconds it took, or fails with the last output."""
    from_s = time.monotonic()
    while not holds():
        assert time.monotonic() - from_s < timeout_s, f"not within {timeout_s:g} s\n{said()}"
        time.sleep(0.05)
    return time.monotonic() - from_s


def ends_of(
    bootstrap: str, topics: Sequence[str], isolation_level: str
) -> dict[tuple[str, int], int]:
    """Return where partitions end: `read_committed` stops before the first open transaction."""
    config = client(bootstrap, isolation_level=isolation_level)
    reader = Consumer({"group.id": "reader", **config})
    try:
        there = reader.list_topics(timeout=30).topics
        topic_partitions = [(topic, n) for topic in topics for n in there[topic].partitions]
        return {
            topic_partition: reader.get_watermark_offsets(
                TopicPartition(*topic_partition), timeout=30
            )[1]
            for topic_partition in topic_partitions
        }
    finally:
        reader.close()


@dataclass
class Worker:
    """One process of `claimtrace stream`."""

    name: str
    folder: Path
    environment: Mapping[str, str]
    running: subprocess.Popen[bytes] | None = None
    port: int = 0
    logged_before: int = 0
    """Length of the log when the process was started."""

    def start(self, **orders: str) -> None:
        """Start the process; its output goes to `log`."""
        assert self.running is None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logged_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "claimtrace", "stream"],
                env={**os.environ, **self.environment, **orders, "PYTHONPATH": str(ROOT),
                     "CLAIMTRACE_FOLDER": str(self.folder), **self._listening()},
                cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def _listening(self) -> dict[str, str]:
        return {"CLAIMTRACE_METRICS__LISTEN": f"{HOST}:{self.port}"} if self.port else {}

    @property
    def log(self) -> Path:
        """The path of the output, over all its starts."""
        return self.folder.with_suffix(".log")

    @property
    def text(self) -> str:
        """The output as one line of words."""
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return " ".join(said.split())

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is stopped by a signal)."""
        return self.running is not None and self.running.poll() is None

    def _has_logged(self) -> bool:
        return not self.log.is_file() or self.log.stat().st_size > self.logged_before

    def send(self, number: int) -> None:
        """Send a signal that doesn't end the process."""
        assert self.running is not None
        self.running.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait until the process ends by itself; returns its exit code."""
        assert self.running is not None
        code = self.running.wait(timeout_s)
        self.running = None
        return code

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and text of `/ready`, `/live` or `/metrics`; (0, "") without an answer."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels; 0 without any."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.ask("/metrics")[1])
            for sample in family.samples
            if sample.name == f"claimtrace_{name}" and labels.items() <= sample.labels.items()
        )

    def kill(self) -> int:
        """Kill the process; returns its exit code."""
        return self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """End the process by a signal; returns its exit code.

        A signal other than SIGKILL is answered as soon as the worker has logged its start, so one
        that has only just been started is given the time.
        """
        assert self.running is not None
        if number != signal.SIGKILL:
            end_s = time.monotonic() + timeout_s
            while self.alive and not self._has_logged() and time.monotonic() < end_s:
                time.sleep(0.02)
        if self.running.poll() is None:
            self.running.send_signal(number)
        code = self.running.wait(timeout_s)
        self.running = None
        return code
