"""One stream read from its first record to its end as of now: for proofs and for people."""

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
    """Yield all records, those of parent shards before those of their children.

    A record's position is its index within its shard.
    """
    family = Family()
    family.learn(reads.shards(name))
    while family.readable:
        for number in sorted(family.readable):
            yield from _read_shard(reads, ReadRequest(name, number), topic, clock)
            family.finish(number)


def by_claim(decisions: Iterable[Record]) -> dict[int, list[Record]]:
    """Return decisions by the shard of their claim, in order of the claim's position there.

    A stream has decisions in the order in which calls succeeded. A decision that was emitted again
    comes directly after the first one.
    """
    by_partition: dict[int, list[tuple[int, Record]]] = {}
    for record in decisions:
        claim = claim_position_of(record.value or b"")
        by_partition.setdefault(claim.partition, []).append((claim.position, record))
    return {
        partition: [
            record._replace(partition=partition, position=i)
            for i, (_, record) in enumerate(sorted(rows, key=lambda row: row[0]))
        ]
        for partition, rows in by_partition.items()
    }


def _read_shard(
    reads: KinesisReads, request: ReadRequest, topic: str, clock: Clock
) -> Iterator[Record]:
    position = 0
    while True:
        page = reads.read(request)
        if page.is_throttled:
            clock.sleep(_PAUSE_S)
            continue
        columns = zip(page.keys, page.values, page.log_times_ms, strict=True)
        for key, content, log_time_ms in columns:
            value, headers = unwrapped(content)
            yield Record(topic, request.shard, position, key, value, log_time_ms, headers)
            position += 1
        if page.iterator is None or (not page.sequences and page.behind_ms == 0):
            return  # the shard has ended, or nothing has arrived since
        last = page.sequences[-1] if page.sequences else request.sequence
        request = request._replace(iterator=page.iterator, sequence=last, is_after=bool(last))
        if page.behind_ms == 0 or not page.sequences:
            clock.sleep(_PAUSE_S)  # a shard allows five reads a second
