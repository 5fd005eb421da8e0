"""Reading by position from a real broker: the same order as the local log, wherever it is cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from claimtrace.adapters.merged_log import MergedReader
from claimtrace.adapters.system_clock import SystemClock
from claimtrace.errors import ClaimtraceError, ConfigError, StateError
from claimtrace.events import Outgoing, Record
from claimtrace.limits import MAX_VALUE_BYTES
from claimtrace.settings import KafkaSettings, Settings
from stream.adapters import kafka_source
from stream.adapters.kafka_source import KafkaSource
from stream.plans import Place, plan_of
from stream.watching import Watching
from tests.servers.kafka import Cluster
from tests.servers.mock_cluster import MockCluster
from tests.servers.records import send
from tests.servers.topics import client, create_topics, delete_before, read_topic

WAIT_S = 30.0
_numbers = count()


class ShiftedClock(SystemClock):
    """The machine's time, and more when told to."""

    shift_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.shift_s


class Lost(Watching):
    """Remembers how many records were lost by policy."""

    count = 0

    def lost(self, count: int) -> None:
        self.count += count


class Bay:
    """Topics of one test, and the sources that read them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topics: tuple[str, ...] = ()
        self.clock = ShiftedClock()
        self.said: list[str] = []
        self.watching = Lost()
        self.sources: list[KafkaSource] = []

    def make(self, topics: int, partitions: int, **config: str) -> tuple[str, ...]:
        """New topics."""
        number = next(_numbers)
        self.topics = tuple(f"source.{number}.{n}" for n in range(topics))
        create_topics(self.bootstrap, dict.fromkeys(self.topics, partitions), config=config)
        return self.topics

    def source(self, **kafka: Any) -> KafkaSource:
        """A source of its own."""
        settings = Settings(source=f"kafka://{self.bootstrap}", kafka=KafkaSettings(**kafka))
        made = KafkaSource(settings, self.topics, self.clock, self.said.append, self.watching)
        self.sources.append(made)
        return made

    def there(self) -> list[Record]:
        """What a reader of committed records sees, by topic, partition and position."""
        return [r for topic in self.topics for r in read_topic(self.bootstrap, topic)]


@pytest.fixture
def bay(kafka: Cluster) -> Iterator[Bay]:
    made = Bay(kafka.bootstrap)
    yield made
    for source in made.sources:
        source.close()


def merged(records: Sequence[Record], topics: Sequence[str]) -> list[Record]:
    """The slow and obvious order: again and again the earliest head of all partitions."""
    queues: dict[tuple[int, int], list[Record]] = {}
    for record in records:
        queues.setdefault((topics.index(record.topic), record.partition), []).append(record)
    order = []
    while any(queues.values()):
        heads = [(queue[0].log_time_ms, place) for place, queue in queues.items() if queue]
        order.append(queues[min(heads)[1]].pop(0))
    return order


def after(positions: Mapping[Place, int], batch: Sequence[Record]) -> dict[Place, int]:
    """The positions behind a batch."""
    spans = plan_of(1, batch, None, 0).ranges
    return {**positions, **{(s.topic, s.partition): s.to_position for s in spans}}


def drain(
    source: KafkaSource,
    wanted: int,
    most: Callable[[], int],
    positions: Mapping[Place, int] | None = None,
) -> list[list[Record]]:
    """Batches until so many records came, as the driver takes them."""
    at, taken, batches = dict(positions or {}), 0, []
    until_s = time.monotonic() + WAIT_S
    while taken < wanted:
        batch = source.poll(at, most())
        assert batch or time.monotonic() < until_s, f"{taken} of {wanted} records came: {at}"
        if batch:
            at = after(at, batch)
            taken += len(batch)
            batches.append(batch)
    assert source.poll(at, 10) == []
    return batches


def some_rows(seed: int, topics: Sequence[str], partitions: int, number: int) -> list[Outgoing]:
    """Few log times, that run backwards now and then; the last partition of each topic is empty."""
    rng = np.random.default_rng(seed)
    now, rows = 1_780_000_000_000, []
    for n in range(number):
        now += int(rng.integers(0, 3)) * 1000
        topic = topics[int(rng.integers(len(topics)))]
        partition = int(rng.integers(partitions - 1)) if partitions > 1 else 0
        back = int(rng.integers(0, 20)) * 1000 if rng.random() < 0.3 else 0
        rows.append(Outgoing(topic, partition, b"k%d" % n, b"v%d" % n, now - back))
    return rows


# -- the order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_batches_cut_anywhere_follow_the_merge(bay: Bay, seed: int) -> None:
    topics = bay.make(3, 3)
    rng = np.random.default_rng(seed)
    send(bay.bootstrap, some_rows(seed, topics, 3, 400))
    wanted = merged(bay.there(), topics)
    largest = int(rng.choice([3, 40, 500]))
    source = bay.source()
    batches = drain(source, 400, lambda: int(rng.integers(1, largest + 1)))
    assert [r for batch in batches for r in batch] == wanted
    by_place: dict[Place, list[Record]] = {}
    for record in bay.there():
        by_place.setdefault((record.topic, record.partition), []).append(record)
    places = [(topic, p) for topic in topics for p in range(3)]
    local = MergedReader(
        topics, places, lambda t, p, at, most: by_place.get((t, p), [])[at : at + most]
    )
    assert local.take({}, 1000, (0, 0)) == wanted
    for reader in (source, bay.source()):  # one that has read it all, one that is new
        for at in rng.permutation(len(batches)).tolist():
            assert reader.fetch(plan_of(1, batches[at], None, 0).ranges) == batches[at]


def test_a_source_that_goes_back_and_forth_gives_the_same_records(bay: Bay) -> None:
    topics = bay.make(2, 2)
    rng = np.random.default_rng(9)
    send(bay.bootstrap, some_rows(9, topics, 2, 600))
    source = bay.source()
    batches = drain(source, 600, lambda: 25)
    starts: list[dict[Place, int]] = [{}]
    for batch in batches:
        starts.append(after(starts[-1], batch))
    for _ in range(60):
        at = int(rng.integers(len(batches)))
        if rng.random() < 0.5:
            assert source.fetch(plan_of(1, batches[at], None, 0).ranges) == batches[at]
        else:
            (first, *_) = drain_some(source, starts[at], 25)
            assert first == batches[at]


def drain_some(source: KafkaSource, at: dict[Place, int], most: int) -> list[list[Record]]:
    """The next batch that isn't empty."""
    until_s = time.monotonic() + WAIT_S
    while not (batch := source.poll(at, most)):
        assert time.monotonic() < until_s
    return [batch]


def test_new_records_are_seen_and_an_empty_topic_is_empty(bay: Bay) -> None:
    topics = bay.make(2, 2)
    source = bay.source()
    for _ in range(5):
        assert source.poll({}, 100) == []
    at: dict[Place, int] = {}
    for n in range(5):
        row = Outgoing(topics[n % 2], n % 2, None, b"%d" % n, 1_780_000_000_000 - n)
        send(bay.bootstrap, [row])
        (batch,) = drain(source, 1, lambda: 100, at)
        assert [r.value for r in batch] == [row.value]
        at = after(at, batch)
    assert source.ends() == {(t, p): 3 * (t == topics[0] and p == 0) + 2 * (t == topics[1] and p == 1)
                             for t in topics for p in range(2)}  # fmt: skip


# -- what stands in a record ----------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_records_arrive_as_they_were_sent(bay: Bay, codec: str) -> None:
    (topic,) = bay.make(1, 2)
    at = 1_780_000_000_000
    rows = [
        Outgoing(topic, 0, None, None, at),
        Outgoing(topic, 0, b"", b"", at),
        Outgoing(topic, 0, b"\xff\x00", b"\x00" * 10, at, (("a", b"1"), ("a", b"2"), ("", b""))),
        Outgoing(topic, 0, b"k" * 500, b"x" * (MAX_VALUE_BYTES + 1), at),
        Outgoing(topic, 0, b"k", np.random.default_rng(1).bytes(MAX_VALUE_BYTES + 1), at),
        *(Outgoing(topic, 1, b"k%d" % n, b'{"n":%d}' % n, at + n) for n in range(500)),
    ]
    send(bay.bootstrap, rows, compression_type=codec, batch_size=100_000)
    source = bay.source()
    found = [r for batch in drain(source, len(rows), lambda: 100) for r in batch]
    got = [Outgoing(r.topic, r.partition, r.key, r.value, r.log_time_ms, r.headers)
           for r in sorted(found, key=lambda r: (r.partition, r.position))]  # fmt: skip
    assert got == rows
    assert source.fetch(plan_of(1, found, None, 0).ranges) == found


def test_a_header_without_a_value_is_empty(bay: Bay) -> None:
    (topic,) = bay.make(1, 1)
    producer = Producer(client(bay.bootstrap))
    producer.produce(topic, b"v", headers=[("h", None)])
    assert producer.flush(30) == 0
    ((record,),) = drain(bay.source(), 1, lambda: 1)
    assert record.headers == (("h", b""),)


def test_the_brokers_time_is_the_log_time_where_the_topic_says_so(bay: Bay) -> None:
    (topic,) = bay.make(1, 1, **{"message.timestamp.type": "LogAppendTime"})
    before_ms = SystemClock().now_ms()
    send(bay.bootstrap, [Outgoing(topic, 0, None, b"v", 1_000_000_000_000)])
    ((record,),) = drain(bay.source(), 1, lambda: 1)
    assert before_ms - 1000 <= record.log_time_ms <= SystemClock().now_ms() + 1000


# -- gaps -----------------------------------------------------------------------------------------


def test_markers_and_aborted_records_are_stepped_over(bay: Bay) -> None:
    topics = bay.make(2, 2)
    rng = np.random.default_rng(4)
    producer = Producer(client(bay.bootstrap, transactional_id=f"gaps-{topics[0]}"))
    producer.init_transactions(30)
    kept = 0
    for turn in range(40):
        producer.begin_transaction()
        for _ in range(int(rng.integers(1, 6))):
            place = topics[int(rng.integers(2))], int(rng.integers(2))
            stamp = 1_780_000_000_000 + turn * 1000 - int(rng.integers(0, 3000))
            producer.produce(place[0], b"%d" % turn, partition=place[1], timestamp=stamp)
        queued = len(producer)
        producer.flush(30)
        if turn % 3 == 1 or turn == 39:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
            kept += queued
    wanted = merged(bay.there(), topics)
    assert len(wanted) == kept
    assert any(b.position - a.position > 2 for a, b in zip(wanted, wanted[1:], strict=False)
               if (a.topic, a.partition) == (b.topic, b.partition))  # fmt: skip
    source = bay.source()
    batches = drain(source, kept, lambda: int(rng.integers(1, 9)))
    assert [r for batch in batches for r in batch] == wanted
    at = after({}, wanted)
    for place, end in source.ends().items():
        assert source.is_through(place, end)
        assert end > at.get(place, 0), "the end is an aborted record or a marker"
    for reader in (source, bay.source()):
        for batch in reversed(batches):
            assert reader.fetch(plan_of(1, batch, None, 0).ranges) == batch


def test_an_open_transaction_holds_up_its_partition_only(bay: Bay) -> None:
    (topic,) = bay.make(1, 2)
    producer = Producer(client(bay.bootstrap, transactional_id=f"open-{topic}"))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(30)
    send(bay.bootstrap, [Outgoing(topic, 0, None, b"behind it", 1), Outgoing(topic, 1, None, b"x", 2)])
    source = bay.source()
    ((other,),) = drain(source, 1, lambda: 10)
    assert other.value == b"x"
    producer.commit_transaction(30)
    (rest,) = drain(source, 2, lambda: 10, {(topic, 1): 1})
    assert sorted(r.value or b"" for r in rest) == [b"behind it", b"open"]


# -- records that are gone ------------------------------------------------------------------------


def numbered(topic: str, partition: int, number: int) -> list[Outgoing]:
    """Rows that say where they stand."""
    return [Outgoing(topic, partition, None, b"%d" % n, 1_780_000_000_000 + n) for n in range(number)]


def raised_by(work: Callable[[], Any]) -> ClaimtraceError:
    """What it raises before long."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        try:
            work()
        except ClaimtraceError as error:
            return error
    raise AssertionError("nothing was raised")


def test_lost_records_stop_the_worker(bay: Bay) -> None:
    (topic,) = bay.make(1, 2)
    send(bay.bootstrap, numbered(topic, 0, 100))
    delete_before(bay.bootstrap, {(topic, 0): 60})
    source = bay.source()
    error = raised_by(lambda: source.poll({(topic, 0): 10}, 10))
    assert isinstance(error, StateError)
    assert "retention took 50 records before they were read (from 10)" in error.what
    assert error.where == f"{topic}/0"
    assert "on_lost_records" in error.hint
    assert raised_by(lambda: source.poll({(topic, 0): 10}, 10)).what == error.what, "said again"


def test_lost_records_are_told_and_passed_over_where_that_is_wanted(bay: Bay) -> None:
    (topic,) = bay.make(1, 2)
    send(bay.bootstrap, numbered(topic, 0, 100))
    delete_before(bay.bootstrap, {(topic, 0): 60})
    source = bay.source(on_lost_records="earliest")
    batches = drain(source, 40, lambda: 15, {(topic, 0): 10})
    assert [r.position for batch in batches for r in batch] == list(range(60, 100))
    assert bay.watching.count == 50
    (line,) = bay.said
    assert f"50 records of {topic}/0 are lost" in line
    assert "going on at 60" in line


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_nothing_but_lost_records(bay: Bay, policy: str) -> None:
    (topic,) = bay.make(1, 1)
    send(bay.bootstrap, numbered(topic, 0, 30))
    delete_before(bay.bootstrap, {(topic, 0): 30})
    source = bay.source(on_lost_records=policy)
    if policy == "stop":
        assert "took 20 records" in raised_by(lambda: source.poll({(topic, 0): 10}, 10)).what
        return
    until_s = time.monotonic() + WAIT_S
    while not bay.watching.count:
        assert source.poll({(topic, 0): 10}, 10) == []
        assert time.monotonic() < until_s
    send(bay.bootstrap, numbered(topic, 0, 1))
    (batch,) = drain(source, 1, lambda: 10, {(topic, 0): 10})
    assert (batch[0].position, bay.watching.count) == (30, 20)


def test_a_first_start_begins_with_what_is_left(bay: Bay) -> None:
    (topic,) = bay.make(1, 1)
    send(bay.bootstrap, numbered(topic, 0, 30))
    delete_before(bay.bootstrap, {(topic, 0): 10})
    batches = drain(bay.source(), 20, lambda: 7)
    assert [r.position for batch in batches for r in batch] == list(range(10, 30))
    assert bay.said == []


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_a_plan_whose_records_are_gone_is_not_run_on_others(bay: Bay, policy: str) -> None:
    (topic,) = bay.make(1, 1)
    send(bay.bootstrap, numbered(topic, 0, 40))
    (batch, *_) = drain(bay.source(), 40, lambda: 20)
    plan = plan_of(1, batch, None, 0)
    delete_before(bay.bootstrap, {(topic, 0): 10})
    late = bay.source(on_lost_records=policy)
    assert isinstance(raised_by(lambda: late.fetch(plan.ranges)), StateError)
    assert bay.watching.count == 0


def test_a_position_beyond_the_end_is_another_topic(bay: Bay) -> None:
    (topic,) = bay.make(1, 2)
    send(bay.bootstrap, numbered(topic, 1, 10))
    source = bay.source(on_lost_records="earliest")
    assert source.poll({(topic, 1): 10}, 10) == [], "at its end is nothing wrong"
    error = raised_by(lambda: source.poll({(topic, 1): 11}, 10))
    assert isinstance(error, StateError)
    assert "ends at 10, this worker is at 11" in error.what
    assert "made anew" in error.hint


def test_a_topic_that_is_not_there_is_named(bay: Bay) -> None:
    bay.topics = ("source.nowhere",)
    with pytest.raises(ConfigError, match=r"no topic source.nowhere") as caught:
        bay.source().poll({}, 10)
    assert "topics create" in caught.value.hint


def test_new_partitions_are_read_from_their_beginning(bay: Bay, kafka: Cluster) -> None:
    (topic,) = bay.make(1, 1)
    send(bay.bootstrap, numbered(topic, 0, 5))
    source = bay.source()
    (first,) = drain(source, 5, lambda: 10)
    at = after({}, first)
    kafka.admin().create_partitions([NewPartitions(topic, 3)])[topic].result(30)
    for partition in (1, 2):
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                send(bay.bootstrap, numbered(topic, partition, 7))
                break
            except Exception:
                assert time.monotonic() < until_s
    assert source.poll(at, 100) == [], "looked for now and then only"
    bay.clock.shift_s += 31
    more = drain(source, 14, lambda: 4, at)
    assert [r for batch in more for r in batch] == merged(
        [r for r in bay.there() if r.partition], (topic,)
    )
    assert source.fetch(plan_of(1, more[0], None, 0).ranges) == more[0]


# -- one partition far ahead of another -----------------------------------------------------------

MANY = 45_000


def fill(bootstrap: str, topic: str, partition: int, number: int) -> None:
    """Many small records, not all of them waited for one by one."""
    producer = Producer(client(bootstrap, linger_ms=20, queue_buffering_max_messages=MANY * 2))
    for n in range(number):
        producer.produce(topic, b"%d" % n, partition=partition, timestamp=1_780_000_000_000 + n)
    assert producer.flush(60) == 0


@pytest.fixture
def far(mock_kafka: MockCluster) -> Iterator[tuple[Bay, MockCluster]]:
    """One partition with many records, and one whose leader is down."""
    bay = Bay(mock_kafka.bootstrap)
    bay.topics = ("source.far",)
    mock_kafka.create_topic("source.far", 2)
    mock_kafka.set_leader("source.far", 0, 1)
    mock_kafka.set_leader("source.far", 1, 2)
    fill(bay.bootstrap, "source.far", 0, MANY)
    fill(bay.bootstrap, "source.far", 1, 50)
    mock_kafka.down(2)
    yield bay, mock_kafka
    for source in bay.sources:
        source.close()


def held(source: KafkaSource) -> int:
    """How many records it has read ahead."""
    return sum(len(buffer.records) for buffer in source._buffers.values())


def test_a_silent_partition_is_waited_for_and_then_not(far: tuple[Bay, MockCluster]) -> None:
    bay, mock = far
    source, at, taken = bay.source(), {}, 0
    from_s = time.monotonic()
    until_s = from_s + WAIT_S
    while taken < 4000:
        assert time.monotonic() < until_s
        batch = source.poll(at, 2000)
        assert held(source) <= kafka_source._FULL_RECORDS + 2 * kafka_source._PULL
        at, taken = after(at, batch) if batch else at, taken + len(batch)
        assert {r.partition for r in batch} <= {0}
    assert time.monotonic() - from_s >= kafka_source._PATIENCE_S
    mock.up(2)
    rest = drain(source, MANY + 50 - taken, lambda: 2000, at)
    positions = [(r.partition, r.position) for batch in rest for r in batch]
    assert [p for n, p in positions if n == 1] == list(range(50))
    assert [p for n, p in positions if n == 0] == list(range(taken, MANY))


def test_a_partition_that_was_held_back_is_fetched_for_plans(far: tuple[Bay, MockCluster]) -> None:
    """Another worker writes the plans now: this one no longer polls, and must not wait for ever."""
    bay, mock = far
    source, until_s = bay.source(), time.monotonic() + WAIT_S
    while not (batch := source.poll({}, 10)):
        assert time.monotonic() < until_s
    assert any(buffer.is_paused for buffer in source._buffers.values()), "it was held back"
    position = 0
    while position < MANY:
        (span,) = plan_of(1, batch, None, 0).ranges
        to = min(position + 2000, MANY)
        ranges = [type(span)(span.topic, 0, position, to)]
        assert [r.position for r in source.fetch(ranges)] == list(range(position, to))
        position = to


def test_a_partition_that_was_held_back_is_read_after_a_seek(far: tuple[Bay, MockCluster]) -> None:
    bay, _ = far
    source, until_s = bay.source(), time.monotonic() + WAIT_S
    while not (batch := source.poll({}, 10)):
        assert time.monotonic() < until_s
    (span,) = plan_of(1, batch, None, 0).ranges
    ranges = [type(span)(span.topic, 0, MANY - 5, MANY)]
    assert [r.position for r in source.fetch(ranges)] == list(range(MANY - 5, MANY))
    assert source.fetch(plan_of(1, batch, None, 0).ranges) == batch
