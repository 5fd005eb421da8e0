"""The records of a simulated history, and the outcome that each must have, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np

from claimtrace.editions import NEWEST, OLDEST
from claimtrace.encoding.encoder import encode
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims import DOMAIN
from tests.worlds.random_events import a_stream, pick

MINUTE_MS = 60_000
TIE_ORDER = DOMAIN.tie_order(NEWEST)
TOPIC_KINDS = {"claims.filed": "claim", "claims.adjudicated": "label", "policies.changed": "change"}
BAD: list[bytes | None] = [
    None,
    b"",
    b"{",
    b"[]",
    b"\xff\xfe",
    b"{}",
    b'{"claim_id":"a/../b"}',
    b"[" * 5000,
    b"\x00\x00\x00\x00\x07",
    b'{"claim_id":"x","claim_id":"y"}',
    b'{"claim_id":"x","total_claim_cents":1e999}',
    b'{"claim_id":"x","filed_at":"9999-01-01T00:00:00Z"}',
    b'{"claim_id":"x","currency":"EUR"}',
    b'{"claim_id":"x","vin":"\\ud800"}',
]


class Entry(NamedTuple):
    """A record to be appended to the log; `event` is None for bad bytes and tombstones."""

    topic: str
    partition: int
    value: bytes | None
    log_time_ms: int
    event: Any
    time_ms: int

    def outgoing(self) -> Outgoing:
        """Return the record as a producer appends it."""
        return Outgoing(self.topic, self.partition, b"k", self.value, self.log_time_ms)


@dataclass(frozen=True)
class History:
    """Entries in the order of appending; a stage is consumed before the next one is appended."""

    partitions: int
    stages: list[list[Entry]]
    upgraded_at: int | None = None
    """The stage before which the newest edition begins; None: the journal begins with it."""


class Expected(NamedTuple):
    """The expected outcome of a history: facts in the order of application, and counts."""

    facts: list[tuple[str, Any, int, int]]
    claims: int
    changes: int
    labels: int
    duplicates: int
    dead: int
    tombstones: int


def a_history(seed: int) -> History:
    """Return claims, changes and labels over some partitions whose clocks differ.

    There are duplicates, conflicts and bad bytes, and in half of the histories log times that run
    backwards on a partition.

    """
    rng = np.random.default_rng([seed, 1])
    partitions = int(rng.integers(2, 5))
    skews_ms = rng.integers(0, 3, partitions) * 20 * MINUTE_MS
    backwards = rng.random() < 0.5
    entries: list[Entry] = []
    count, is_old = int(rng.integers(20, 66)), seed % 2 == 1
    for _, event, time_ms, log_ms in a_stream(seed, count, revised=is_old):
        partition = int(rng.integers(partitions))
        back_ms = int(rng.integers(0, 2 * MINUTE_MS)) if backwards and rng.random() < 0.3 else 0
        log_time_ms = log_ms + int(skews_ms[partition]) - back_ms
        entries.append(Entry(event.topic, partition, encode(event), log_time_ms, event, time_ms))
        while rng.random() < 0.25:
            entries.append(_odd(rng, entries, log_time_ms, partitions))
    cuts = sorted(int(c) for c in rng.integers(0, len(entries), int(rng.integers(0, 3))))
    bounds = [0, *cuts, len(entries)]
    stages = [entries[low:high] for low, high in pairwise(bounds)]
    stages = [stage for stage in stages if stage]
    return History(partitions, stages, seed // 2 % len(stages) if is_old else None)


def _odd(rng: np.random.Generator, entries: list[Entry], now_ms: int, partitions: int) -> Entry:
    """Return a duplicate of any earlier entry, on any partition; a conflict; or bad bytes."""
    partition = int(rng.integers(partitions))
    old = entries[int(rng.integers(max(0, len(entries) - 12), len(entries)))]
    kind = rng.random()
    if kind < 0.3 or old.event is None:
        topic = pick(rng, list(TOPIC_KINDS))
        return Entry(topic, partition, pick(rng, BAD), now_ms, None, 0)
    if kind < 0.8:
        return old._replace(partition=partition, log_time_ms=max(now_ms, old.log_time_ms))
    change = {
        "claims.filed": {"total_claim_cents": int(rng.integers(5))},
        "claims.adjudicated": {"source": "again"},
        "policies.changed": {"auto_year": int(rng.integers(5))},
    }[old.topic]
    event = msgspec.structs.replace(old.event, **change)
    later_ms = max(now_ms, old.log_time_ms)
    return Entry(old.topic, partition, encode(event), later_ms, event, old.time_ms)


def merged(stage: list[Entry], topics: tuple[str, ...] = TIE_ORDER) -> list[Entry]:
    """Return a stage in the order of application: always the earliest head of all partitions."""
    queues: dict[tuple[int, int], list[Entry]] = {}
    for entry in stage:
        topic_partition = topics.index(entry.topic), entry.partition
        queues.setdefault(topic_partition, []).append(entry)
    order = []
    while any(queues.values()):
        topic_partition = min(
            (q[0].log_time_ms, topic_partition) for topic_partition, q in queues.items() if q
        )[1]
        order.append(queues[topic_partition].pop(0))
    return order


def _in_order(history: History) -> Iterator[tuple[int, Entry]]:
    """Yield all entries in the order of application, each with the number of its stage."""
    for number, stage in enumerate(history.stages):
        is_old = history.upgraded_at is not None and number < history.upgraded_at
        order = DOMAIN.tie_order(OLDEST if is_old else NEWEST)
        yield from ((number, entry) for entry in merged(stage, order))


def expected_of(history: History) -> Expected:
    """Compute the expected outcome of a history, in order, with a dictionary of seen ids."""
    seen: dict[tuple[str, str], bytes] = {}
    facts: list[tuple[str, Any, int, int]] = []
    counts = dict.fromkeys(("claim", "change", "label", "duplicate", "dead", "tombstone"), 0)
    for number, entry in _in_order(history):
        if number == history.upgraded_at and ("edition", NEWEST, 0, 0) not in facts:
            facts.append(("edition", NEWEST, 0, 0))
        if entry.event is None:
            counts["dead" if entry.value else "tombstone"] += 1
            continue
        known = entry.topic, getattr(entry.event, type(entry.event).id_field)
        kind = TOPIC_KINDS[entry.topic]
        if known in seen:
            counts["duplicate" if seen[known] == entry.value else "dead"] += 1
            continue
        assert entry.value is not None
        seen[known] = entry.value
        counts[kind] += 1
        facts.append((kind, entry.event, entry.time_ms, entry.log_time_ms))
    return Expected(facts, counts["claim"], counts["change"], counts["label"],
                counts["duplicate"], counts["dead"], counts["tombstone"])  # fmt: skip
