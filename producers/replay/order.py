"""The order and the pace of replayed records: merged by arrival, at a chosen speed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from claimtrace.clock import Clock
from claimtrace.decisions import DEAD_TOPIC
from claimtrace.errors import ConfigError
from claimtrace.events import Outgoing


def merge_by_arrival(*sources: Iterable[Outgoing]) -> Iterator[Outgoing]:
    """Merge replays by log time; at equal times the first source comes first.

    Dead letters, which have the machine's time, wait for nothing.
    """
    return heapq.merge(
        *sources, key=lambda each: 0 if each.topic == DEAD_TOPIC else each.log_time_ms
    )


def paced(
    records: Iterable[Outgoing], clock: Clock, speed: float, batch_records: int = 1000
) -> Iterator[list[Outgoing]]:
    """Yield records in batches, `speed` times as fast as they arrived; 0 never waits.

    >>> from claimtrace.clock import ManualClock
    >>> clock = ManualClock()
    >>> two = [Outgoing("t", 0, None, b"", at) for at in (60_000, 120_000)]
    >>> [(len(batch), clock.now_ms()) for batch in paced(two, clock, speed=60)]
    [(1, 0), (1, 1000)]
    """
    if not speed >= 0:
        raise ConfigError(f"speed {speed} is not 0 or more",
                          hint="0: as fast as possible; 1: real time")  # fmt: skip
    started_s = clock.monotonic_s()
    first_ms: int | None = None
    batch: list[Outgoing] = []
    for record in records:
        if record.topic != DEAD_TOPIC and speed > 0:
            if first_ms is None:
                first_ms = record.log_time_ms
            due_s = started_s + (record.log_time_ms - first_ms) / 1000 / speed
            if due_s > clock.monotonic_s():
                if batch:
                    yield batch
                    batch = []
                clock.sleep(max(0.0, due_s - clock.monotonic_s()))
        batch.append(record)
        if len(batch) >= batch_records:
            yield batch
            batch = []
    if batch:
        yield batch
