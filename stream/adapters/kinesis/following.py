"""A stream of Kinesis followed as it grows, shard by shard; children follow their parents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from claimtrace.adapters.aws.errors import named_errors
from claimtrace.adapters.kinesis.header_envelope import unwrapped
from claimtrace.clock import Clock
from claimtrace.events import Record

from ...group.shard_family import id_of
from .polling import KinesisReads, ReadRequest

_PAUSE_S: Final = 0.25
"""A shard allows five reads a second, of all its readers together."""


def follow_stream(
    reads: KinesisReads, client: Any, name: str, topic: str, since_ms: int, clock: Clock
) -> Iterator[list[Record]]:
    """Yield what a stream takes in from a time on; an empty page after a round without records.

    A record's position is counted from where the reading began.

    Args:
        reads: reads pages.
        client: a boto3 client for Kinesis.
        name: the stream.
        topic: the topic of the records.
        since_ms: begin with the records that arrived from this time on.
        clock: for the pauses between reads.

    Raises:
        ConfigError, StoreUnavailable: those of `named_errors`.
    """
    start = datetime.fromtimestamp(since_ms / 1000, UTC)
    open_now = {
        each.number: ReadRequest(name, each.number, _iterator_at(client, name, each.number, start))
        for each in reads.shards(name)
    }
    known, counts = set(open_now), dict.fromkeys(open_now, 0)
    while True:
        found: list[Record] = []
        for shard, request in sorted(open_now.items()):
            page = reads.read(request)
            if page.is_throttled:
                continue
            for key, content, at_ms in zip(page.keys, page.values, page.log_times_ms, strict=True):
                value, headers = unwrapped(content)
                found.append(Record(topic, shard, counts[shard], key, value, at_ms, headers))
                counts[shard] += 1
            if page.iterator is None:
                del open_now[shard]
                continue
            last = page.sequences[-1] if page.sequences else request.sequence
            open_now[shard] = ReadRequest(name, shard, page.iterator, last, bool(last))
        if len(open_now) < len(known):
            for each in reads.shards(name):  # children of shards that have ended, from their begin
                if each.number not in known:
                    known.add(each.number)
                    counts[each.number] = 0
                    open_now[each.number] = ReadRequest(name, each.number)
        yield found
        clock.sleep(_PAUSE_S)


def _iterator_at(client: Any, name: str, shard: int, start: datetime) -> str:
    with named_errors("can't read", f"{name}/{shard}"):
        answer = client.get_shard_iterator(
            StreamName=name, ShardId=id_of(shard), ShardIteratorType="AT_TIMESTAMP", Timestamp=start
        )
    return str(answer["ShardIterator"])
