"""Send canonical claims at a planned rate, from a process of its own.

    python -m benchmarks.injector JOB.json

Each event has a planned moment and is sent at that moment, whether or not the worker keeps up. A
worker that stalls is charged with every event that falls due meanwhile (no coordinated omission).

Orders are lines of JSON on standard input, and each is answered by a line on standard output.
`make` builds the bytes of events beforehand; `send` sends the events that were made. On the
embedded log the injector also observes when decisions appear (`Watch`), through a connection of its
own; `seen` writes these observations to a file.
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
"""Seconds between two looks at the embedded log."""

SLICE: Final = 20_000
"""Events that are sent together when no rate is given."""


class Setting(msgspec.Struct):
    """Where events go: a log's file, or brokers; `most` is the number of events in all."""

    policies: int
    most: int
    log: str = ""
    bootstrap: str = ""


class Order(msgspec.Struct):
    """An order to the injector.

    `make`: build a number of `events`. `send`: send them, `per_s` a second (0: at once), and write
    the planned and the actual time of each claim `into` a file. `seen`: write the observations
    since the last such order `into` a file.
    """

    what: Literal["make", "send", "seen"]
    events: int = 0
    per_s: float = 0.0
    into: str = ""


class Done(msgspec.Struct):
    """The answer to an order: the number of claims sent and acknowledged, and CPU seconds."""

    claims: int = 0
    cpu_s: float = 0.0


class Ready(NamedTuple):
    """An event with its partition, ready to be sent."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    log_time_ms: int


class Log(Protocol):
    """A log that events are sent to.

    Events that fall due within `tick_s` are sent together. The latency of a claim includes that
    wait, as it is measured from the planned moment.
    """

    tick_s: float

    def send(self, due: Sequence[Ready]) -> None:
        """Send events; may return before they are acknowledged."""

    def flush(self) -> None:
        """Wait until all events are acknowledged."""


class EmbeddedSender:
    """The embedded log: all events that are due in one small transaction."""

    tick_s = 0.005

    def __init__(self, path: str) -> None:
        self._log = EmbeddedLog(Path(path))

    def send(self, due: Sequence[Ready]) -> None:
        """Append the events in one transaction."""
        places: dict[tuple[str, int], tuple[list[bytes], list[int]]] = {}
        for topic, partition, _, value, log_time_ms in due:
            place = places.setdefault((topic, partition), ([], []))
            place[0].append(value)
            place[1].append(log_time_ms)
        with self._log.transaction():
            for (topic, partition), (values, times_ms) in places.items():
                self._log.append_columns(topic, partition, None, values, times_ms)

    def flush(self) -> None:
        """Do nothing: a transaction is durable when it ends."""


class Brokers:
    """A Kafka cluster, by the client of Confluent."""

    tick_s = 0.001

    def __init__(self, bootstrap: str) -> None:
        self._producer: Any = Producer(
            client(bootstrap, linger_ms=1, enable_idempotence=True,
                   queue_buffering_max_messages=1_000_000)
        )  # fmt: skip

    def send(self, due: Sequence[Ready]) -> None:
        """Queue the events; the client sends them within a millisecond."""
        produce = self._producer.produce
        for topic, partition, key, value, log_time_ms in due:
            produce(topic, value, key, partition, timestamp=log_time_ms)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all events are acknowledged."""
        self._producer.flush(120)


def ready(sent: Iterable[Sent]) -> list[Ready]:
    """Find the partition of each event."""
    return [Ready(topic, partition_of(key, PARTITIONS), key.encode(), value, log_time_ms)
            for topic, key, value, log_time_ms in sent]  # fmt: skip


def inject(log: Log, sent: Sequence[Ready], per_s: float) -> tuple[NDArray[np.float64], float]:
    """Send each event when it is due.

    Returns:
        The planned and the actual time of each event, float64[n, 2], in seconds of the wall clock,
        as in the brokers' timestamps; and the CPU seconds that sending took.
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
    """A thread that counts the decisions on the embedded log every millisecond.

    Each change is kept as the time and the end of each partition. A decision counts as acknowledged
    at the first look that finds it, so up to a millisecond too late.
    """

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._seen: list[tuple[float, ...]] = []

    def take(self) -> list[tuple[float, ...]]:
        """Return the changes since the last call."""
        seen, self._seen = self._seen, []
        return seen

    def run(self) -> None:
        """Look at the log until the process ends."""
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
