"""The records read from streams: all, once, keys in order, through splits and merges."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from claimtrace.adapters.kinesis.kpl_aggregation import Part, aggregated
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.events import Record
from stream.adapters.kinesis.polling import KinesisReads, ReadRequest, ShardPage
from stream.adapters.kinesis.source import KinesisSource
from stream.group.shard_family import Shard, id_of
from stream.journal.plan import Range, TopicPartition, plan_of
from tests.servers.kinesis import KinesisLocal, create_streams, wait_until_active
from tests.servers.kinesis_faults import document, error, inject, times

_numbers = itertools.count()
DAY_MS = 86_400_000
TOPICS = ("claims", "labels")


class KinesisInputs:
    """Two topics on streams of their own, and the records that were put there."""

    def __init__(self, kinesis: KinesisLocal, shards: int = 2) -> None:
        self.client = kinesis.client()
        name = f"inputs{next(_numbers)}"
        self.streams = {topic: f"{name}.{topic}" for topic in TOPICS}
        create_streams(self.client, {self.streams["claims"]: shards, self.streams["labels"]: 1})
        self.sent: dict[str, list[bytes]] = {}
        self.count = 0
        self._kinesis = kinesis
        self._sources: list[KinesisSource] = []

    def put(self, count: int, keys: int = 9, topic: str = "claims", packed: int = 1) -> None:
        """Put records, several of a key in one if `packed`; their values count them."""
        entries = []
        for start in range(0, count, packed):
            parts, key = [], f"k{self.count // packed % keys}"
            for _ in range(min(packed, count - start)):
                parts.append(Part(key, b"%s-%d" % (topic.encode(), self.count)))
                self.sent.setdefault(key, []).append(parts[-1].value)
                self.count += 1
            data = aggregated(parts) if packed > 1 else parts[0].value
            entries.append({"Data": data, "PartitionKey": parts[0].key})
        for start in range(0, len(entries), 100):
            self.client.put_records(
                StreamName=self.streams[topic], Records=entries[start : start + 100]
            )

    def split(self, number: int) -> None:
        """Split a shard of the claims in two."""
        stream = self.streams["claims"]
        shard = next(s for s in KinesisReads(self.client).shards(stream) if s.number == number)
        middle = (shard.first_hash + shard.last_hash) // 2 + 1
        self.client.split_shard(
            StreamName=stream, ShardToSplit=id_of(number), NewStartingHashKey=str(middle)
        )
        wait_until_active(self.client, stream)

    def merge(self, one: int, other: int) -> None:
        """Merge two adjacent shards."""
        stream = self.streams["claims"]
        self.client.merge_shards(
            StreamName=stream, ShardToMerge=id_of(one), AdjacentShardToMerge=id_of(other)
        )
        wait_until_active(self.client, stream)

    def source(self, client: Any = None, limit: int = 1000, on_lost: Any = None) -> KinesisSource:
        """Open a source that doesn't wait between reads."""
        made = KinesisSource(
            KinesisReads(client or self._kinesis.client(), limit), self.streams, SystemClock(),
            on_lost or refuse, DAY_MS,
        )  # fmt: skip
        made.readers = 0
        self._sources.append(made)
        return made

    def close(self) -> None:
        """Close the sources."""
        for source in self._sources:
            source.close()


def refuse(what: str) -> None:
    raise StateError(what)


class Reader:
    """Takes batches, and keeps their plans."""

    def __init__(self, source: KinesisSource) -> None:
        self.source = source
        self.positions: dict[TopicPartition, int] = {}
        self.plans: list[tuple[list[Range], list[Record]]] = []

    @property
    def records(self) -> list[Record]:
        return [record for _, records in self.plans for record in records]

    def read(self, count: int, most: Any = lambda: 50) -> None:
        """Read until there are `count` records."""
        until_s = time.monotonic() + 60
        while len(self.records) < count:
            assert time.monotonic() < until_s, f"{len(self.records)} of {count}"
            records = self.source.poll(self.positions, most())
            if len(records):
                plan = plan_of(1, records, None, 0)
                self.plans.append((self.source.located(plan.ranges), list(records)))
                for span in plan.ranges:
                    self.positions[span.topic, span.partition] = span.to_position

    def go_on(self, source: KinesisSource) -> None:
        """Continue with another source from a snapshot's bookmarks, as after a crash."""
        bookmarks = self.source.bookmarks(self.positions)
        self.source = source
        source.resume(bookmarks)


@pytest.fixture
def inputs(kinesis: KinesisLocal) -> Iterator[KinesisInputs]:
    made = KinesisInputs(kinesis)
    yield made
    made.close()


def check(inputs: KinesisInputs, reader: Reader) -> None:
    """Check that each record came once, keys in order, without gaps, and that plans can be read."""
    keyed: dict[str, list[bytes]] = {}
    for record in reader.records:
        keyed.setdefault((record.key or b"").decode(), []).append(record.value or b"")
    assert keyed == inputs.sent
    topic_partitions: dict[TopicPartition, list[int]] = {}
    for record in reader.records:
        topic_partitions.setdefault((record.topic, record.partition), []).append(record.position)
    assert all(found == list(range(len(found))) for found in topic_partitions.values())
    for topic_partition, position in reader.positions.items():
        assert position == len(topic_partitions[topic_partition])
    again = inputs.source()
    for ranges, records in random.Random(1).sample(reader.plans, len(reader.plans)):
        assert list(again.fetch(ranges)) == records


def test_all_is_read_however_the_batches_are_cut(inputs: KinesisInputs) -> None:
    inputs.put(300)
    inputs.put(60, keys=3, topic="labels")
    inputs.sent = {}
    inputs.count = 0
    inputs.put(200)
    reader = Reader(inputs.source(limit=37))
    rng = random.Random(5)
    reader.read(560, lambda: rng.randint(1, 60))
    times_ms = [record.log_time_ms for record in reader.records]
    assert times_ms == sorted(times_ms), "all was there before, so the merge is by arrival"
    assert len({(r.topic, r.partition, r.position) for r in reader.records}) == 560


def test_split_merge_and_split_of_a_split_while_reading(inputs: KinesisInputs) -> None:
    """B1, B2, B3: and the reader is replaced every now and then."""
    reader = Reader(inputs.source(limit=20))
    inputs.put(100)
    reader.read(40)
    inputs.split(0)
    inputs.put(100)
    reader.go_on(inputs.source(limit=20))
    reader.read(120)
    inputs.split(2)  # a child of 0
    inputs.put(100)
    reader.read(130)
    reader.go_on(inputs.source(limit=20))
    inputs.merge(5, 3)  # a grandchild with its uncle
    inputs.put(100)
    reader.go_on(inputs.source(limit=20))
    reader.read(400)
    check(inputs, reader)
    assert {r.partition for r in reader.records} >= {0, 1, 2, 4, 6}
    reader.go_on(inputs.source())  # everything is read: nothing comes twice
    for _ in range(10):
        assert not len(reader.source.poll(reader.positions, 100))


@pytest.mark.parametrize("seed", range(3))
def test_any_resharding_with_a_new_reader_at_any_time(kinesis: KinesisLocal, seed: int) -> None:
    inputs, rng = KinesisInputs(kinesis), random.Random(seed)
    reader = Reader(inputs.source(limit=15))
    for _ in range(6):
        inputs.put(rng.randint(0, 40), packed=rng.choice([1, 1, 4]))
        is_open = sorted(
            (
                s
                for s in KinesisReads(inputs.client).shards(inputs.streams["claims"])
                if not s.is_closed
            ),
            key=lambda shard: shard.first_hash,
        )
        if rng.random() < 0.5 or len(is_open) < 2:
            inputs.split(rng.choice(is_open).number)
        else:
            at = rng.randrange(len(is_open) - 1)
            inputs.merge(is_open[at].number, is_open[at + 1].number)
        reader.read(rng.randint(len(reader.records), inputs.count), lambda: rng.randint(1, 30))
        if rng.random() < 0.5:
            reader.go_on(inputs.source(limit=15))
    reader.read(inputs.count)
    check(inputs, reader)
    inputs.close()


def test_packed_records_are_cut_and_read_again_in_the_middle(inputs: KinesisInputs) -> None:
    inputs.put(90, keys=1, packed=20)
    reader = Reader(inputs.source())
    reader.read(90, lambda: 7)
    check(inputs, reader)
    half = Reader(inputs.source())
    half.read(49, lambda: 7)
    half.go_on(inputs.source())
    half.read(90, lambda: 7)
    assert half.records == reader.records


def test_a_record_that_only_looks_packed_is_one_record(inputs: KinesisInputs) -> None:
    """B9: it will be a dead letter; the records beside it are read."""
    broken = aggregated([Part("k0", b"a"), Part("k0", b"b")])[:-1] + b"\0"
    for data in (b"before", broken, b"behind"):
        inputs.client.put_record(StreamName=inputs.streams["claims"], Data=data, PartitionKey="k0")
    reader = Reader(inputs.source())
    reader.read(3)
    assert [record.value for record in reader.records] == [b"before", broken, b"behind"]


def test_an_expired_iterator_is_replaced_where_it_was(
    kinesis: KinesisLocal, inputs: KinesisInputs
) -> None:
    """B5: after the last record that was read, none twice and none skipped."""
    client = kinesis.client()
    inputs.put(120)
    reader = Reader(inputs.source(client, limit=10))
    reader.read(30)
    inject(client, "GetRecords", times(5, error("ExpiredIteratorException")))
    reader.read(120)
    check(inputs, reader)


def test_throttled_reads_and_lists_lose_nothing(
    kinesis: KinesisLocal, inputs: KinesisInputs
) -> None:
    """B6."""
    client = kinesis.client()
    inputs.put(60)
    inject(client, "ListShards", times(1, error("LimitExceededException")))
    inject(client, "GetRecords", times(7, error("ProvisionedThroughputExceededException")))
    reader = Reader(inputs.source(client, limit=10))
    with pytest.raises(StoreUnavailable, match="list"):
        reader.read(1)
    reader.read(60)
    check(inputs, reader)


def test_an_empty_page_with_a_lag_is_read_past(
    kinesis: KinesisLocal, inputs: KinesisInputs
) -> None:
    """B10: the shard is not at its end, so newer records of other shards wait for it."""
    client = kinesis.client()
    inputs.put(20)
    reader = Reader(inputs.source(client, limit=100))
    iterators: list[str] = []

    def empty(request: Any) -> Any:
        iterator = document(request)["ShardIterator"]
        if iterators.count(iterator) >= 3:
            return None
        iterators.append(iterator)
        return 200, {"Records": [], "NextShardIterator": iterator, "MillisBehindLatest": 5000}

    inject(client, "GetRecords", empty)
    reader.read(20)
    check(inputs, reader)
    assert len(iterators) >= 6


# -- what the local server can't do: a shard by hand ----------------------------------------------


class FakeReads:
    """A stream of one shard whose pages the test gives."""

    is_shared = True

    def __init__(self, *pages: ShardPage) -> None:
        self.pages, self.asked = list(pages), list[ReadRequest]()
        self.listed = [Shard(0)]

    def shards(self, name: str) -> list[Shard]:
        return self.listed

    def read(self, ask: ReadRequest) -> ShardPage:
        self.asked.append(ask)
        return self.pages.pop(0) if self.pages else ShardPage("end", 0)


def page(
    *sequences: int, iterator: str | None = "next", behind_ms: int = 0, at_ms: int = 5
) -> ShardPage:
    rows = len(sequences)
    return ShardPage(iterator, behind_ms, tuple(map(str, sequences)), (1,) * rows, (b"k",) * rows,
               tuple(b"%d" % n for n in sequences), (at_ms,) * rows)  # fmt: skip


class StoppedClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def monotonic_s(self) -> float:
        self.at_s += 0.001
        return self.at_s

    def now_ms(self) -> int:
        return int(self.at_s * 1000)

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def faked(
    *pages: ShardPage, on_lost: Any = refuse
) -> tuple[KinesisSource, FakeReads, StoppedClock]:
    reads, clock = FakeReads(*pages), StoppedClock()
    source = KinesisSource(reads, {"claims": "s.claims"}, clock, on_lost, DAY_MS)
    return source, reads, clock


def polled(source: KinesisSource, positions: dict[TopicPartition, int], count: int) -> list[Record]:
    for _ in range(2000):
        found = source.poll(positions, 100)
        if len(found) >= count:
            return list(found)
        time.sleep(0.0005)  # the reads are in threads, whatever the clock says
    raise AssertionError("not read")


def test_sequence_numbers_are_compared_as_integers() -> None:
    """B16: as text "9" is more than "10"."""
    source, _, _ = faked(page(9), page(10, 123))
    assert [r.value for r in polled(source, {}, 3)] == [b"9", b"10", b"123"]
    source, _, _ = faked(page(10), page(9))
    with pytest.raises(StateError, match="out of order"):
        polled(source, {}, 2)
    source.close()


def test_reads_keep_to_their_share_of_five_a_second() -> None:
    for readers, wanted in ((1, 5.0), (4, 1.25)):
        source, reads, clock = faked(*(page(n, behind_ms=9) for n in range(1000)))
        source.readers = readers
        from_s, position = clock.at_s, 0
        while clock.at_s < from_s + 20:
            found = source.poll({("claims", 0): position}, 100)
            position += len(found)
        rate = len(reads.asked) / (clock.at_s - from_s)
        assert 0.7 * wanted < rate <= 1.05 * wanted
        source.close()


def test_reads_keep_to_their_share_of_two_megabytes_a_second() -> None:
    body = b"x" * 500_000
    for readers in (1, 3):
        pages = (page(n, behind_ms=9)._replace(values=(body,)) for n in range(200))
        source, _, clock = faked(*pages)
        source.readers = readers
        from_s, position = clock.at_s, 0
        while clock.at_s < from_s + 30:
            found = source.poll({("claims", 0): position}, 100)
            position += len(found)
        a_second = position * len(body) / (clock.at_s - from_s)
        assert 0.6 * 2_000_000 / readers < a_second <= 1.05 * 2_000_000 / readers
        source.close()


def test_a_quiet_shard_is_asked_less_often_and_a_busy_one_as_often_as_may_be() -> None:
    source, reads, clock = faked()
    from_s = clock.at_s
    while clock.at_s < from_s + 30:
        source.poll({}, 100)
    assert 25 < len(reads.asked) < 60
    source.close()


def test_where_a_shard_goes_on_is_refused_when_it_is_not_known() -> None:
    source, _, _ = faked(page(1))
    with pytest.raises(StateError, match="no record of the stream is known for position 7"):
        source.poll({("claims", 0): 7}, 10)
    with pytest.raises(StateError, match="doesn't name the record"):
        source.fetch([Range("claims", 0, 0, 1)])
    source.close()


def test_a_plan_whose_records_are_gone_is_refused() -> None:
    source, _, _ = faked(page(8, 9))
    with pytest.raises(StateError, match="no longer has claims/0 from 4 to 6"):
        source.fetch([Range("claims", 0, 4, 6, "4:5")])
    source.close()


def test_a_start_after_retention_is_told_and_one_in_time_is_not() -> None:
    told: list[str] = []
    for away_ms, lost in ((DAY_MS - 60_000, 0), (DAY_MS + 60_000, 1)):
        source, _, clock = faked(page(70, 71, at_ms=1), on_lost=told.append)
        told.clear()
        clock.at_s = (away_ms + 10_000) / 1000
        source.resume(b'[[["claims",0],[4,"66",10000]]]')
        found = polled(source, {("claims", 0): 5}, 2)
        assert [r.position for r in found] == [5, 6], "its last record is gone, not the next ones"
        assert len(told) == lost
        source.close()


def test_a_shard_that_goes_before_it_was_read_is_told() -> None:
    told: list[str] = []
    source, reads, clock = faked(page(1, behind_ms=50_000), on_lost=told.append)
    polled(source, {}, 1)
    reads.listed = [Shard(1, (0,))]
    clock.sleep(20)
    source.poll({("claims", 0): 1}, 10)
    assert told == ["shard 0 of s.claims is gone before it was read"]
    source.close()


def test_who_only_reads_what_plans_say_misses_no_shard() -> None:
    """A worker that only fetches never reads a shard to its end; the writer of the plans does."""
    source, reads, clock = faked(page(5, behind_ms=50_000))
    assert source.topic_partitions() == {("claims", 0)}
    (record,) = source.fetch([Range("claims", 0, 0, 1, "0:5")])
    assert record.value == b"5"
    reads.listed = [Shard(1, (0,))]
    clock.sleep(20)
    assert source.topic_partitions() == {("claims", 1)}
    source.close()
