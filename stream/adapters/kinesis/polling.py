"""One read of a shard: an iterator where there is none, a page, its records out of their wrapping.

Runs in threads of a pool, so nothing here is shared but the client, which may be.
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
    """Where to read: on from an iterator; else at or after a sequence number; else from the first
    record that the stream still has."""

    stream: str
    shard: int
    iterator: str | None = None
    sequence: str = ""
    is_after: bool = False


class ShardPage(NamedTuple):
    """What a read gave; the columns have a row for each of Kinesis' own records, or each part.

    `iterator` is None when the shard has ended; `is_throttled`: nothing was read, ask again later
    (too much was asked of the shard, or a new iterator had expired before it was used).
    """

    iterator: str | None
    behind_ms: int = 0
    sequences: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    """Parts of each record."""
    keys: tuple[bytes, ...] = ()
    values: tuple[bytes, ...] = ()
    log_times_ms: tuple[int, ...] = ()
    has_children: bool = False
    is_throttled: bool = False


class KinesisReads:
    """Reads shards.

    Args:
        client: of boto3; shared by the threads.
        limit: records of one page at the most.
    """

    is_shared = True

    def __init__(self, client: Any, limit: int = PAGE_RECORDS) -> None:
        self._client, self._wire, self._limit = client, FastKinesis(client), limit

    def read(self, ask: ReadRequest) -> ShardPage:
        """One page.

        Raises:
            ConfigError, StoreUnavailable: as `named_errors` has it.
        """
        with named_errors("can't read", f"{ask.stream}/{ask.shard}"):
            try:
                return shard_page_of(self._page(ask))
            except ClientError as error:
                if code_of(error) not in THROTTLED | {_EXPIRED}:
                    raise
                return ShardPage(ask.iterator, is_throttled=True)

    def shards(self, name: str) -> list[Shard]:
        """All shards that a stream lists, closed ones too."""
        found: list[Shard] = []
        asked: dict[str, Any] = {"StreamName": name}
        with named_errors("can't list the shards", name):
            while True:
                answer = self._client.list_shards(**asked)
                found += map(_shard, answer["Shards"])
                if not answer.get("NextToken"):
                    return found
                asked = {"NextToken": answer["NextToken"]}

    def bytes_a_second(self, name: str, shard: int, now_ms: int, seconds: int) -> float:
        """What came on a shard in the last seconds; one read, of at most 10 MB.

        Raises:
            ConfigError, StoreUnavailable: as `named_errors` has it.
        """
        since = datetime.fromtimestamp(now_ms / 1000 - seconds, UTC)
        with named_errors("can't read", f"{name}/{shard}"):
            answer = self._client.get_shard_iterator(
                StreamName=name, ShardId=id_of(shard), ShardIteratorType="AT_TIMESTAMP",
                Timestamp=since,
            )  # fmt: skip
            page = self._wire.get_records(str(answer["ShardIterator"]), self._limit)
        read_s = max(seconds - page.MillisBehindLatest / 1000, 1.0)  # the page may be full
        return sum(len(record.Data) for record in page.Records) / read_s

    def _page(self, ask: ReadRequest) -> Page:
        iterator = ask.iterator or self._iterator(ask)
        try:
            return self._wire.get_records(iterator, self._limit)
        except ClientError as error:
            if code_of(error) != _EXPIRED:
                raise
        return self._wire.get_records(self._iterator(ask), self._limit)

    def _iterator(self, ask: ReadRequest) -> str:
        how = {"ShardIteratorType": "TRIM_HORIZON"}
        if ask.sequence:
            kind = "AFTER_SEQUENCE_NUMBER" if ask.is_after else "AT_SEQUENCE_NUMBER"
            how = {"ShardIteratorType": kind, "StartingSequenceNumber": ask.sequence}
        answer = self._client.get_shard_iterator(
            StreamName=ask.stream, ShardId=id_of(ask.shard), **how
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
    """The columns of a page, each record in its parts."""
    counts: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    times: list[int] = []
    for record in page.Records:
        parts = _parts(record)
        counts.append(len(parts))
        for key, value in parts:
            keys.append(key.encode())
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
    parts = parts_of(record.Data) or None  # one without any parts is as good as opaque
    return [(record.PartitionKey, record.Data)] if parts is None else [*parts]
