"""Sends canonical claims at a planned rate, from a process of its own.

    python -m benchmarks.injector JOB.json

Each event has a moment at which it is due, and what is due is sent whether or not the worker keeps
up; so a worker that stalls is charged with every event that came due meanwhile (no coordinated
omission). Orders come as lines of JSON on standard input: `make` events, which builds their bytes,
so that little is left to do in time; then `send` them. The answer is a line on standard output. On
the embedded log the injector also looks when decisions are there (`Watch`), through a connection of
its own; `seen` writes that down.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from benchmarks.canonical import DOMAIN, PARTITIONS, Sent, events
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.ids import partition_of
from tests.servers.topics import client

LOOK_S: Final = 0.001
"""How often the embedded log is looked at."""

SLICE: Final = 20_000
"""So many go out at once when no rate is given."""


class Setting(msgspec.Struct):
    """Where to: a log's file, or brokers. `most` events can be asked for in all."""

    policies: int
    most: int
    log: str = ""
    bootstrap: str = ""


class Order(msgspec.Struct):
    """What to do.

    Make so many `events`; send those that were made, `per_s` (0: at once), and write the times of
    their claims, planned and sent, `into` a file; or write there what was seen since the last time.
    """

    what: Literal["make", "send", "seen"]
    events: int = 0
    per_s: float = 0.0
    into: str = ""


class Done(msgspec.Struct):
    """It is done: all are sent and acknowledged, with so many claims among them."""

    claims: int = 0
    cpu_s: float = 0.0


class Ready(NamedTuple):
    """An event with its place, ready to go."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    log_time_ms: int


class Log(Protocol):
    """Where events go.

    What came due within `tick_s` is sent together; the wait counts, as a claim is timed from its
    planned moment.
    """

    tick_s: float

    def send(self, due: Sequence[Ready]) -> None:
        """Send; may return before it is acknowledged."""

    def flush(self) -> None:
        """Return when all is acknowledged."""


class EmbeddedSender:
    """The log's file, one small transaction for what is due."""

    tick_s = 0.005

    def __init__(self, path: str) -> None:
        self._log = EmbeddedLog(Path(path))

    def send(self, due: Sequence[Ready]) -> None:
        """Append in one transaction."""
        places: dict[tuple[str, int], tuple[list[bytes], list[int]]] = {}
        for topic, partition, _, value, log_time_ms in due:
            place = places.setdefault((topic, partition), ([], []))
            place[0].append(value)
            place[1].append(log_time_ms)
        with self._log.transaction():
            for (topic, partition), (values, times_ms) in places.items():
                self._log.append_columns(topic, partition, None, values, times_ms)

    def flush(self) -> None:
        """Nothing waits: a transaction is durable when it ends."""


class Brokers:
    """A Kafka cluster, by the client that one would take."""

    tick_s = 0.001

    def __init__(self, bootstrap: str) -> None:
        self._producer: Any = Producer(
            client(bootstrap, linger_ms=1, enable_idempotence=True,
                   queue_buffering_max_messages=1_000_000)
        )  # fmt: skip

    def send(self, due: Sequence[Ready]) -> None:
        """Queue; the client sends within a millisecond."""
        produce = self._producer.produce
        for topic, partition, key, value, log_time_ms in due:
            produce(topic, value, key, partition, timestamp=log_time_ms)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for the acknowledgements."""
        self._producer.flush(120)


def ready(sent: Iterable[Sent]) -> list[Ready]:
    """Events with their places."""
    return [Ready(topic, partition_of(key, PARTITIONS), key.encode(), value, log_time_ms)
            for topic, key, value, log_time_ms in sent]  # fmt: skip


def inject(log: Log, sent: Sequence[Ready], per_s: float) -> tuple[NDArray[np.float64], float]:
    """Send each event when it is due: times planned and sent, float64[n, 2], and the CPU it took.

    Times are of the wall clock, which brokers stamp records by.
    """
    times = np.empty((len(sent), 2))
    cpu_s = time.process_time()
    planned_s = np.full(len(sent), time.time() + 5 * log.tick_s)
    if per_s:
        planned_s += np.arange(len(sent)) / per_s
    times[:, 0] = planned_s
    at = 0
    while at < len(sent):
        now_s = time.time()
        due = int(np.searchsorted(planned_s, now_s, side="right"))
        due = due if per_s else min(at + SLICE, len(sent))
        if due > at:
            log.send(sent[at:due])
            times[at:due, 1] = time.time()
            at = due
        time.sleep(log.tick_s)
    log.flush()
    return times, time.process_time() - cpu_s


class Watch(threading.Thread):
    """Looks every millisecond how many decisions are on the embedded log: (time, ends) by change.

    A decision counts as acknowledged at the first look that sees it: late by up to a millisecond.
    """

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._seen: list[tuple[float, ...]] = []

    def take(self) -> list[tuple[float, ...]]:
        """What was seen since the last time."""
        seen, self._seen = self._seen, []
        return seen

    def run(self) -> None:
        """Look until the program ends."""
        log = EmbeddedLog(Path(self._path))
        before: list[int] = []
        while True:
            ends = log.ends(DECISIONS_TOPIC)
            if ends != before:
                self._seen.append((time.time(), *ends))
                before = ends
            time.sleep(LOOK_S)


def main() -> None:
    """Carry out orders until standard input ends."""
    setting = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Setting)
    log: Log = EmbeddedSender(setting.log) if setting.log else Brokers(setting.bootstrap)
    watch = Watch(setting.log)
    if setting.log:
        watch.start()
    source = events(setting.policies, setting.most)
    made: list[Ready] = []
    for line in sys.stdin:
        order, done = msgspec.json.decode(line, type=Order), Done()
        if order.what == "make":
            made = ready(islice(source, order.events))
        elif order.what == "send":
            times, cpu_s = inject(log, made, order.per_s)
            is_claim = np.array([each.topic == DOMAIN.claim.topic for each in made])
            np.save(order.into, times[is_claim])
            done = Done(int(is_claim.sum()), cpu_s)
        else:
            np.save(order.into, np.array(watch.take()))
        print(msgspec.json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    main()
