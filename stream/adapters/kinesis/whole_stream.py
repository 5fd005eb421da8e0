"""A whole stream from its first record to its end as of now, for those who check what is on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from claimtrace.adapters.kinesis.header_envelope import unwrapped
from claimtrace.clock import Clock
from claimtrace.decisions import claim_position_of
from claimtrace.events import Record

from ...group.shard_family import Family
from .polling import KinesisReads, ReadRequest

_PAUSE_S = 0.2


def read_stream(reads: KinesisReads, name: str, topic: str, clock: Clock) -> Iterator[Record]:
    """All records, parents before children; positions count those of each shard."""
    family = Family()
    family.learn(reads.shards(name))
    while family.readable:
        for number in sorted(family.readable):
            yield from _read_shard(reads, ReadRequest(name, number), topic, clock)
            family.finish(number)


def by_claim(decisions: Iterable[Record]) -> dict[int, list[Record]]:
    """Decisions by the shard of their claim, in the order of its positions; what is there again
    stands beside the first. A stream has them in the order in which calls succeeded."""
    placed: dict[int, list[tuple[int, Record]]] = {}
    for record in decisions:
        where = claim_position_of(record.value or b"")
        placed.setdefault(where.partition, []).append((where.position, record))
    return {
        partition: [
            record._replace(partition=partition, position=i)
            for i, (_, record) in enumerate(sorted(rows, key=lambda row: row[0]))
        ]
        for partition, rows in placed.items()
    }


def _read_shard(
    reads: KinesisReads, ask: ReadRequest, topic: str, clock: Clock
) -> Iterator[Record]:
    position = 0
    while True:
        got = reads.read(ask)
        if got.is_throttled:
            clock.sleep(_PAUSE_S)
            continue
        for key, content, log_time_ms in zip(got.keys, got.values, got.log_times_ms, strict=True):
            value, headers = unwrapped(content)
            yield Record(topic, ask.shard, position, key, value, log_time_ms, headers)
            position += 1
        if got.iterator is None or (not got.sequences and got.behind_ms == 0):
            return
        last = got.sequences[-1] if got.sequences else ask.sequence
        ask = ask._replace(iterator=got.iterator, sequence=last, is_after=bool(last))
        if got.behind_ms == 0 or not got.sequences:
            clock.sleep(_PAUSE_S)  # a shard bears five reads a second
