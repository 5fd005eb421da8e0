"""A worker whose brokers don't answer while it starts: it waits, says so, goes on or ends."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.clock import ManualClock
from claimtrace.errors import ConfigError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import Settings
from cli.wiring.waiting import wait_until_opened
from stream.adapters.kafka import reading
from stream.worker.observer import WorkerObserver
from stream.worker.store_names import StoreNames
from tests.servers.broker import free_ports
from tests.servers.kafka import Cluster
from tests.worlds.kafka_fleet import (
    Fleet,
    Worker,
    a_feed,
    check,
    feed,
    find,
    make_topics,
    until,
)

PARTITIONS = 3
SAID = "waiting for: log"


class Heard(WorkerObserver):
    """Notes what a start says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        super().__init__(self.lines.append)
        self.events: list[str] = []

    def ready(self, is_ready: bool) -> None:
        self.events.append(f"ready {is_ready}")

    def paused(self, where: str) -> None:
        self.events.append(f"paused {where}")

    def answered(self) -> None:
        self.events.append("answered")


def test_a_start_is_tried_anew_until_the_store_answers() -> None:
    heard, clock, closed, patience = Heard(), ManualClock(), list[int](), list[float]()

    def attempt(trying: ExitStack, patience_s: float) -> str:
        patience.append(patience_s)
        trying.callback(closed.append, len(patience))
        if len(patience) < 4:
            raise StoreUnavailable("no broker answers", where="kafka:9092")
        return "opened"

    with ExitStack() as opened:
        assert (
            wait_until_opened(attempt, heard, StoreNames(), clock, lambda: False, opened)
            == "opened"
        )
        assert closed == [1, 2, 3], "what a failed try had opened is closed"
    assert closed == [1, 2, 3, 4]
    assert patience == [2, 4, 8, 10]
    assert len(heard.lines) == 3
    assert all(line.startswith(f"{SAID}: no broker answers [kafka:9092]") for line in heard.lines)
    assert heard.events == [*["ready False", "paused kafka:9092"] * 3, "answered"]


def test_a_stop_ends_the_waiting_and_what_waiting_cannot_mend_is_raised() -> None:
    heard, clock, tries = Heard(), ManualClock(), list[int]()

    def unanswered(_: ExitStack, __: float) -> None:
        tries.append(1)
        raise StoreUnavailable("no answer", where="offline")

    with ExitStack() as opened:
        asked = wait_until_opened(
            unanswered, heard, StoreNames(), clock, lambda: len(tries) == 2, opened
        )
    assert asked is None
    assert len(tries) == 2
    assert heard.lines[0].startswith("waiting for: offline")

    def refused(_: ExitStack, __: float) -> None:
        raise ConfigError("the brokers refuse this client")

    with pytest.raises(ConfigError), ExitStack() as opened:
        wait_until_opened(refused, heard, StoreNames(), clock, lambda: False, opened)


def test_no_answer_is_not_a_missing_topic(
    kafka_clusters: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = kafka_clusters()
    make_topics(cluster, 1)
    connection = Settings(source=f"kafka://{cluster.bootstrap}").kafka_connection
    troubles = reading.BrokerErrors(connection)

    def ask(topic: str, partition: int = 0) -> tuple[int, int]:
        consumer = reading.reader(connection, troubles)
        try:
            return reading.ends_of(consumer, troubles, (topic, partition))
        finally:
            consumer.close()

    ends: list[tuple[int, int]] = []

    def is_told() -> bool:
        try:
            ends.append(ask("claims.filed"))
        except StoreUnavailable:  # a topic just made has no leader for a moment
            return False
        return True

    until(is_told, lambda: "no end")
    assert ends == [(0, 0)]
    for missing in (("claims.none", 0), ("claims.filed", 7)):
        with pytest.raises(ConfigError) as raised:
            ask(*missing)
        assert "claimtrace topics create" in raised.value.hint
    monkeypatch.setattr(reading, "_TIMEOUT_S", 1.0)
    cluster.pause()
    try:
        with pytest.raises(StoreUnavailable):
            ask("claims.filed")
    finally:
        cluster.resume()


@pytest.fixture
def fleet(kafka_clusters: Callable[..., Cluster], tmp_path: Path) -> Iterator[Fleet]:
    cluster = kafka_clusters()
    make_topics(cluster, PARTITIONS)
    made = Fleet(tmp_path, cluster)
    yield made
    cluster.resume()
    made.kill()


def test_a_worker_that_starts_without_a_broker_waits_for_it_and_goes_on(fleet: Fleet) -> None:
    feed(fleet.cluster, a_feed(200, PARTITIONS))
    worker, broker = fleet.worker(measured=True), fleet.cluster.brokers[0]

    def waits() -> bool:
        status, said = worker.ask("/ready")
        return (status, said.strip()) == (503, SAID)

    fleet.cluster.pause()
    worker.start()
    until(waits, fleet.said, 60)
    until(lambda: SAID in worker.text and broker.bootstrap in worker.text, fleet.said)
    assert worker.end() == 0, fleet.said()  # still frozen
    assert "nothing was begun yet" in worker.text
    worker.start()
    until(waits, fleet.said, 60)
    fleet.cluster.resume()
    until(lambda: worker.ask("/ready")[0] == 200, fleet.said, 60)
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    fleet.cluster.kill()
    worker.start()
    until(waits, fleet.said, 60)
    fleet.cluster.start()
    until(lambda: worker.ask("/ready")[0] == 200, fleet.said, 60)
    assert worker.end() == 0, fleet.said()
    assert check(fleet, find(fleet), sample=20, once=True) == 0


def test_a_stop_ends_it_on_a_full_disk(tmp_path: Path) -> None:
    """No file may grow any more, so the next plan can't be written; the next start has no limit."""
    worker = Worker("full", tmp_path / "full", {}, port=free_ports(1)[0])
    worker.log.symlink_to("/dev/null")  # its own output is no file that can't grow

    def put(first: int, count: int) -> None:
        claims = [b'{"claim_id":"c-%d","policy_id":"p"}' % n for n in range(first, first + count)]
        with EmbeddedLog(worker.folder / "log.db") as log:
            log.append([Outgoing("claims.filed", 0, b"k", claim, 1) for claim in claims])

    def decided() -> int:
        with EmbeddedLog(worker.folder / "log.db") as log:
            return sum(log.ends("claims.decisions"))

    worker.start()
    try:
        until(lambda: worker.ask("/ready")[0] == 200, str, 60)
        put(0, 5)
        until(lambda: decided() == 5, str, 60)
        size = (worker.folder / "state" / "journal").stat().st_size + 7
        assert worker.running is not None
        resource.prlimit(worker.running.pid, resource.RLIMIT_FSIZE, (size, size))
        put(5, 5)
        until(lambda: "waiting for: journal" in worker.ask("/ready")[1], str, 60)
        assert worker.end() == 70
        assert decided() == 5
        worker.start()
        until(lambda: decided() == 10, str, 60)
        assert worker.end() == 0
    finally:
        if worker.running is not None:
            worker.kill()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_stop_ends_it_at_any_moment_of_a_frozen_broker(fleet: Fleet) -> None:
    """While it starts, waits, recovers, works and ends; the later starts have a journal."""
    rng = np.random.default_rng(8)
    feed(fleet.cluster, a_feed(2_000, PARTITIONS))
    worker = fleet.worker(measured=True)
    took_s: list[float] = []
    for n in range(24):
        is_frozen_first = n % 3 == 0
        if is_frozen_first:
            fleet.cluster.pause()
        worker.start()
        until(lambda: worker.ask("/live")[0] == 200, fleet.said, 60)
        if n % 2:  # else while it starts
            until(lambda: worker.ask("/ready")[1].strip() in (SAID, "ready"), fleet.said, 60)
        time.sleep(float(rng.uniform(0.0, 3.0)))
        fleet.cluster.pause()
        time.sleep(float(rng.choice([0.0, 1.0, 8.0])))
        from_s = time.monotonic()
        code = worker.end(signal.SIGTERM)
        took_s.append(time.monotonic() - from_s)
        assert code in (0, 70), fleet.said()
        fleet.cluster.resume()
    print(f"ended after {sorted(round(s, 1) for s in took_s)} s")
    worker.start()
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    check(fleet, find(fleet), sample=50)
