"""Records on which the client library raises: decided on without what it can't read, at each replay
alike, and never the end of a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.encoding.decoder import Decoder
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Record
from claimtrace.ids import digest
from claimtrace.refusals import Refusal
from claimtrace.settings.schema import Settings
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.faust.gap_reader import GapReader
from stream.adapters.kafka.accessors import UNREADABLE
from stream.adapters.kafka.reading import by_topic_partition, record_of
from stream.adapters.kafka.source import KafkaSource
from stream.adapters.kafka.whole_topic import read_partition
from stream.decisions.dead_letters import KEPT_OF_OVERSIZE_BYTES
from stream.journal.plan import plan_of
from stream.proofs.verify import replay
from tests.contracts.transport_grounds import KafkaGround
from tests.servers.kafka import Cluster
from tests.servers.raw_records import RawRecord, produce_raw
from tests.servers.topics import create_topics
from tests.worlds.random_events import KEY

POISON = RawRecord(b"k", b'{"claim_id":"c-poison","policy_id":"p-1"}',
                   [(b"a", b"1"), (b"\xff", b"2"), (b"c", None)])  # fmt: skip
FAILURES = (SystemError, UnicodeDecodeError, ValueError, KeyError, RuntimeError)


class FakeMessage:
    """A delivered message; its accessors in `broken` raise, at each call in another way."""

    def __init__(self, record: Record, broken: frozenset[str], kind: type[Exception]) -> None:
        self._record, self._broken, self._kind, self.asked = record, broken, kind, list[str]()

    def __getattr__(self, name: str) -> Callable[[], Any]:
        record = self._record
        contents = {
            "topic": record.topic, "partition": record.partition, "offset": record.position,
            "key": record.key, "value": record.value, "timestamp": (2, record.log_time_ms),
            "headers": list(record.headers) or None, "error": None,
        }  # fmt: skip

        def accessor() -> Any:
            assert name not in self.asked, "a second call reads freed memory"
            self.asked.append(name)
            if name in self._broken:
                if self._kind is UnicodeDecodeError:
                    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
                raise self._kind("broken")
            return contents[name]

        return accessor


contents = st.sampled_from(["key", "value", "timestamp", "headers"])
records = st.builds(
    Record, st.sampled_from(["a", "b"]), st.integers(0, 2), st.just(0), st.none() | st.binary(),
    st.none() | st.binary(), st.integers(0, 2**40),
    st.lists(st.tuples(st.text(), st.binary()), max_size=2).map(tuple),
)  # fmt: skip
deliveries = st.lists(
    st.tuples(records, st.frozensets(contents), st.sampled_from(FAILURES)), min_size=1, max_size=12
)


def expected_of(record: Record, broken: frozenset[str]) -> Record:
    """Return what is decided on in place of a record, field by field."""
    if "headers" in broken:
        record = record._replace(headers=())
    if "key" in broken:
        record = record._replace(key=None)
    if "timestamp" in broken:
        record = record._replace(log_time_ms=0)
    return record._replace(value=UNREADABLE) if broken & {"value", "timestamp"} else record


@settings(max_examples=60, deadline=None)
@given(deliveries)
def test_whatever_an_accessor_raises_the_other_records_are_as_they_are(made: list[Any]) -> None:
    numbered = [(record._replace(position=n), *more) for n, (record, *more) in enumerate(made)]
    wanted = [expected_of(record, broken) for record, broken, _ in numbered]

    def delivered() -> list[Any]:
        return [FakeMessage(*each) for each in numbered]

    found = by_topic_partition(delivered())
    assert sorted(r for part in found.values() for r in part) == sorted(wanted)
    assert [record_of(r.topic, m) for r, m in zip(wanted, delivered(), strict=True)] == wanted


@pytest.mark.parametrize("name", ["topic", "partition", "offset"])
def test_a_record_without_a_place_is_fetched_again(name: str) -> None:
    record = Record("a", 0, 7, None, b"x", 1)
    with pytest.raises(StoreUnavailable, match="where a record stands"):
        by_topic_partition([FakeMessage(record, frozenset([name]), SystemError)])  # type: ignore[list-item]


def test_running_out_of_memory_says_nothing_about_a_record() -> None:
    record = Record("a", 0, 7, None, b"x", 1)
    with pytest.raises(MemoryError):
        by_topic_partition([FakeMessage(record, frozenset(["headers"]), MemoryError)])  # type: ignore[list-item]


def test_a_value_that_cannot_be_read_is_a_dead_letter() -> None:
    decoder = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
    [answer] = decoder.decode([Record("claims.filed", 0, 0, None, UNREADABLE, 0)])
    assert isinstance(answer, Refusal)
    assert answer.reason == "bad_json"


@pytest.fixture
def topic(kafka: Cluster, request: pytest.FixtureRequest) -> str:
    """A topic with a poisoned record between good ones, and one at its end."""
    name = f"poison.{abs(hash(request.node.nodeid))}"
    create_topics(kafka.bootstrap, {name: 1})
    good = RawRecord(b"k", b"good", [(b"n", b"1")], 5)
    produce_raw(kafka.bootstrap, name, 0, [good, POISON, good])
    produce_raw(kafka.bootstrap, name, 0, [POISON])
    return name


def test_every_reader_reads_past_it_and_alike(kafka: Cluster, topic: str) -> None:
    connection = Settings(source=f"kafka://{kafka.bootstrap}").kafka_connection
    clock = SystemClock()
    source, again = (KafkaSource(connection, [topic], clock) for _ in range(2))
    gaps = GapReader(connection, clock)
    try:
        polled: list[Record] = []
        until_s = clock.monotonic_s() + 30
        while len(polled) < 4 and clock.monotonic_s() < until_s:
            polled += source.poll({(topic, 0): len(polled)}, 100)
        assert [r.value for r in polled] == [b"good", POISON.value, b"good", POISON.value]
        assert [r.headers for r in polled] == [(("n", b"1"),), (), (("n", b"1"),), ()]
        assert list(again.fetch(plan_of(1, polled, None, 0).ranges)) == polled
        assert list(read_partition(connection, topic, 0)) == polled
        assert gaps({(topic, 0): (0, 4)}) == {(topic, 0): polled}
    finally:
        for each in (source, again, gaps):
            each.close()


def test_a_fleet_lives_on_decides_on_it_and_the_proof_holds(kafka: Cluster, tmp_path: Path) -> None:
    ground = KafkaGround(tmp_path, kafka)
    try:
        claims = [POISON, POISON._replace(value=b"no json"), POISON._replace(value=None)]
        for record in claims:
            produce_raw(kafka.bootstrap, "claims.filed", 1, [record])
        ground.ends["claims.filed", 1] = len(claims)
        first = ground.start("a")
        ground.run(first)
        second = ground.start("b")
        ground.share(first, second)
        first.finish()
        ground.run(second)
        second.finish()
        [decision] = ground.records(DECISIONS_TOPIC)
        assert msgspec.json.decode(decision.value or b"")["claim_id"] == "c-poison"
        [letter] = ground.records(DEAD_TOPIC)
        assert letter.value == b"no json"
        plans, source = ground.proof()
        proved = replay(ground.engine(), plans, source,
                        lambda p: iter([decision] if p == 1 else []), may_repeat=True)  # fmt: skip
        assert (proved.differ, proved.decisions) == (0, 1)
    finally:
        ground.close()


def test_a_key_of_a_megabyte_ends_as_a_dead_letter(kafka: Cluster, tmp_path: Path) -> None:
    ground = KafkaGround(tmp_path, kafka)
    try:
        key = bytes(range(1, 251)) * 4_190
        produce_raw(kafka.bootstrap, "claims.filed", 2, [RawRecord(key, b"no json")])
        ground.ends["claims.filed", 2] = 1
        worker = ground.start("a")
        ground.run(worker)
        worker.finish()
        [letter] = ground.records(DEAD_TOPIC)
        assert (letter.key, letter.value) == (key[:KEPT_OF_OVERSIZE_BYTES], b"no json")
        assert dict(letter.headers)["x-dead-key-digest"] == digest(key).encode()
    finally:
        ground.close()


def test_what_somebody_else_wrote_on_the_decisions_ends_no_take_over(
    kafka: Cluster, tmp_path: Path
) -> None:
    ground = KafkaGround(tmp_path, kafka)
    try:
        produce_raw(kafka.bootstrap, "claims.filed", 0, [POISON])
        ground.ends["claims.filed", 0] = 1
        foreign = [RawRecord(None, b"hello"), RawRecord(None, None), RawRecord(None, b'{"a":1}')]
        produce_raw(kafka.bootstrap, DECISIONS_TOPIC, 0, foreign)
        worker = ground.start("a")
        ground.run(worker)
        worker.finish()
        assert len(ground.records(DECISIONS_TOPIC)) == len(foreign) + 1
    finally:
        ground.close()
