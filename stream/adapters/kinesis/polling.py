"""Reads of shards by polling: one page at a time, its records taken out of their aggregates.

Reads run in threads of a pool and share only the client, which is safe to share.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from claimtrace.adapters.aws.errors import THROTTLED, code_of, named_errors
from claimtrace.adapters.kinesis.fast_json import Delivered, FastKinesis, Page
from claimtrace.adapters.kinesis.kpl_aggregation import parts_of

from ...group.shard_family import Shard, id_of, number_of

PAGE_RECORDS: Final = 5_000
_EXPIRED: Final = "ExpiredIteratorException"


class ReadRequest(NamedTuple):
    """A request for a page of a shard.

    The read starts at the iterator if there is one; else at or after the sequence number; else at
    the first record that the stream still has.
    """

    stream: str
    shard: int
    iterator: str | None = None
    sequence: str = ""
    is_after: bool = False


class ShardPage(NamedTuple):
    """The result of a read.

    `sequences` and `counts` have a row for each of Kinesis' records; `keys`, `values` and
    `log_times_ms` have a row for each part of those.

    `iterator` is None when the shard has ended. `is_throttled` means that nothing was read, and a
    retry later is needed: the shard's read limit was exceeded, or a new iterator had expired before
    it was used.
    """

    iterator: str | None
    behind_ms: int = 0
    sequences: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    """The number of parts of each of Kinesis' records."""
    keys: tuple[bytes, ...] = ()
    values: tuple[bytes, ...] = ()
    log_times_ms: tuple[int, ...] = ()
    has_children: bool = False
    is_throttled: bool = False


class KinesisReads:
    """Reads shards by polling.

    Args:
        client: a boto3 client for Kinesis; shared by the threads.
        limit: the most records of one page.
    """

    is_shared = True

    def __init__(self, client: Any, limit: int = PAGE_RECORDS) -> None:
        self._client, self._wire, self._limit = client, FastKinesis(client), limit

    def read(self, request: ReadRequest) -> ShardPage:
        """Read one page of a shard.

        Raises:
            ConfigError, StoreUnavailable: those of `named_errors`.
        """
        with named_errors("can't read", f"{request.stream}/{request.shard}"):
            try:
                return shard_page_of(self._page(request))
            except ClientError as error:
                if code_of(error) not in THROTTLED | {_EXPIRED}:
                    raise
                return ShardPage(request.iterator, is_throttled=True)

    def shards(self, name: str) -> list[Shard]:
        """Return all shards that a stream lists, closed ones too."""
        found: list[Shard] = []
        query: dict[str, Any] = {"StreamName": name}
        with named_errors("can't list the shards", name):
            while True:
                answer = self._client.list_shards(**query)
                found += map(_shard, answer["Shards"])
                if not answer.get("NextToken"):
                    return found
                query = {"NextToken": answer["NextToken"]}

    def bytes_a_second(self, name: str, shard: int, now_ms: int, seconds: int) -> float:
        """Measure how many bytes a second a shard has received in the last seconds.

        One read, of at most 10 MB.

        Raises:
            ConfigError, StoreUnavailable: those of `named_errors`.
        """
        since = datetime.fromtimestamp(now_ms / 1000 - seconds, UTC)
        with named_errors("can't read", f"{name}/{shard}"):
            answer = self._client.get_shard_iterator(
                StreamName=name, ShardId=id_of(shard), ShardIteratorType="AT_TIMESTAMP",
                Timestamp=since,
            )  # fmt: skip
            page = self._wire.get_records(str(answer["ShardIterator"]), self._limit)
        # a full page ends before now: it covers the time up to its last record only
        read_s = max(seconds - page.MillisBehindLatest / 1000, 1.0)
        return sum(len(record.Data) for record in page.Records) / read_s

    def _page(self, request: ReadRequest) -> Page:
        iterator = request.iterator or self._iterator(request)
        try:
            return self._wire.get_records(iterator, self._limit)
        except ClientError as error:
            if code_of(error) != _EXPIRED:
                raise
        # an iterator expires after five minutes; the request has the last sequence number as well
        return self._wire.get_records(self._iterator(request), self._limit)

    def _iterator(self, request: ReadRequest) -> str:
        start = {"ShardIteratorType": "TRIM_HORIZON"}
        if request.sequence:
            kind = "AFTER_SEQUENCE_NUMBER" if request.is_after else "AT_SEQUENCE_NUMBER"
            start = {"ShardIteratorType": kind, "StartingSequenceNumber": request.sequence}
        answer = self._client.get_shard_iterator(
            StreamName=request.stream, ShardId=id_of(request.shard), **start
        )
        return str(answer["ShardIterator"])


def _shard(listed: dict[str, Any]) -> Shard:
    parents = (listed.get("ParentShardId"), listed.get("AdjacentParentShardId"))
    hashes = listed["HashKeyRange"]
    return Shard(
        number_of(listed["ShardId"]),
        tuple(number_of(each) for each in parents if each),
        int(hashes["StartingHashKey"]),
        int(hashes["EndingHashKey"]),
        "EndingSequenceNumber" in listed["SequenceNumberRange"],
    )


def shard_page_of(page: Page) -> ShardPage:
    """Return a page as columns, each of Kinesis' records split into its parts."""
    counts: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    times: list[int] = []
    for record in page.Records:
        parts = _parts(record)
        counts.append(len(parts))
        for key, value in parts:
            keys.append(key.encode(errors="replace"))  # JSON may hold half a surrogate pair
            values.append(value)
        times += [record.log_time_ms] * len(parts)
    return ShardPage(
        page.NextShardIterator,
        page.MillisBehindLatest,
        tuple(record.SequenceNumber for record in page.Records),
        tuple(counts),
        tuple(keys),
        tuple(values),
        tuple(times),
        bool(page.ChildShards),
    )


def _parts(record: Delivered) -> list[tuple[str, bytes]]:
    # an aggregate without any parts is kept as one opaque record: it will be a dead letter
    parts = parts_of(record.Data) or None
    return [(record.PartitionKey, record.Data)] if parts is None else [*parts]
