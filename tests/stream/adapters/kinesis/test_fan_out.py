"""Enhanced fan-out: the same records as by polling, whenever a subscription ends.

The contract of transports runs over it too (`test_transports.py`, in the long run).

"""

from __future__ import annotations

import itertools
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.adapters.kinesis import enhanced_fan_out as kinesis_push
from claimtrace.adapters.kinesis.enhanced_fan_out import Pushed, TakenOver, pushes
from claimtrace.adapters.kinesis.kpl_aggregation import aggregated
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import ConfigError, StoreUnavailable
from stream.adapters.kinesis.fan_out import FanOutReads, Pages
from stream.adapters.kinesis.polling import KinesisReads, ReadRequest, ShardPage
from stream.adapters.kinesis.source import KinesisSource
from tests.servers.kinesis import KinesisLocal, create_streams
from tests.servers.ministack import Ministack

_numbers = itertools.count()


class Reader:
    """Reads on and on, as the source does."""

    def __init__(self, reads: Any, ask: ReadRequest) -> None:
        self.reads, self.ask = reads, ask
        self.got: list[ShardPage] = []

    @property
    def values(self) -> list[bytes]:
        return [value for got in self.got for value in got.values]

    def once(self) -> ShardPage:
        got = self.reads.read(self.ask)
        if not got.is_throttled:
            self.got.append(got)
            last = got.sequences[-1] if got.sequences else self.ask.sequence
            self.ask = self.ask._replace(iterator=got.iterator, sequence=last, is_after=bool(last))
        return got

    def until_has(self, values: list[bytes]) -> None:
        self.until(lambda: len(self.values) >= len(values))
        assert self.values == values

    def until(self, done: Callable[[], bool]) -> None:
        for _ in range(2000):
            if done():
                return
            self.once()
        raise AssertionError(f"it doesn't come: {len(self.values)} did")


@pytest.fixture
def name(ministack: Ministack) -> str:
    name = f"pushed{next(_numbers)}"
    create_streams(ministack.client("kinesis"), {name: 1})
    return name


def put(server: Ministack, stream: str, values: list[bytes]) -> None:
    records = [{"Data": value, "PartitionKey": "k"} for value in values]
    server.client("kinesis").put_records(StreamName=stream, Records=records)


@pytest.fixture
def fan_out(ministack: Ministack) -> Iterator[Callable[..., FanOutReads]]:
    made: list[FanOutReads] = []

    def make(stream: str, consumer: str = "w1", **more: Any) -> FanOutReads:
        reads = FanOutReads(ministack.client("kinesis"), consumer, SystemClock(), **more)
        made.append(reads)
        reads.register(stream)
        return reads

    yield make
    for reads in made:
        reads.close()


def n(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(first, first + count)]


def test_what_is_pushed_is_what_is_polled(
    ministack: Ministack, name: str, fan_out: Callable[..., FanOutReads]
) -> None:
    several = aggregated([("a", b"x"), ("b", b"y")])
    put(ministack, name, [b"1", several, b"\x00\xff", b"2"])
    polled = KinesisReads(ministack.client("kinesis")).read(ReadRequest(name, 0))
    reader = Reader(fan_out(name), ReadRequest(name, 0))
    reader.until(lambda: len(reader.values) >= 5)
    (got,) = [each for each in reader.got if each.sequences]
    assert got._replace(iterator="", behind_ms=0) == polled._replace(iterator="", behind_ms=0)
    assert got.counts == (1, 2, 1, 1)
    put(ministack, name, [b"3"])
    reader.until(lambda: reader.values[-1:] == [b"3"])


def test_it_goes_on_from_any_place(
    ministack: Ministack, name: str, fan_out: Callable[..., FanOutReads]
) -> None:
    """Each reader is a consumer of its own, or the first would hold the shard for five seconds."""
    put(ministack, name, n(4))
    first = Reader(fan_out(name, "first"), ReadRequest(name, 0))
    first.until_has(n(4))
    second = first.got[0].sequences[1]
    for consumer, is_after, values in (("at", False, n(3, 1)), ("after", True, n(2, 2))):
        ask = ReadRequest(name, 0, sequence=second, is_after=is_after)
        reader = Reader(fan_out(name, consumer), ask)
        reader.until_has(values)


def test_a_subscription_that_ends_goes_on_behind_its_last_page(
    ministack: Ministack, name: str, fan_out: Callable[..., FanOutReads]
) -> None:
    """B18: AWS ends it; the next one begins at the number that AWS gave for it."""
    starts: list[dict[str, str]] = []
    given: list[str | None] = []

    def short(client: Any, arn: str, shard: str, start: dict[str, str]) -> Pages:
        starts.append(start)
        with_end = pushes(client, arn, shard, start)
        for page in itertools.islice(with_end, 1 + len(starts) % 2):
            given.append(page.ContinuationSequenceNumber)
            yield page
        with_end.close()

    reader = Reader(fan_out(name, subscribe=short), ReadRequest(name, 0))
    sent: list[bytes] = []
    while len(starts) < 4:
        sent += n(3, len(sent))
        put(ministack, name, sent[-3:])
        reader.until_has(sent)
    assert starts[0] == {"Type": "TRIM_HORIZON"}
    for start in starts[1:]:
        assert start["Type"] == "AFTER_SEQUENCE_NUMBER"
        assert start["SequenceNumber"] in given


def test_a_server_that_ends_it_every_second_loses_nothing(tmp_path: Path) -> None:
    with_ends = Ministack(tmp_path)
    with_ends.subscription_s = 1
    with with_ends as server:
        create_streams(server.client("kinesis"), {"s": 1})
        opened = itertools.count()

        def counted(*given: Any) -> Pages:
            next(opened)
            return pushes(*given)

        reads = FanOutReads(server.client("kinesis"), "w", SystemClock(), counted)
        reads.register("s")
        reader, sent = Reader(reads, ReadRequest("s", 0)), []
        while next(opened) < 9:  # each look counts as well
            sent += n(2, len(sent))
            put(server, "s", sent[-2:])
            reader.until_has(sent)
        assert len(set(itertools.chain(*(got.sequences for got in reader.got)))) == len(sent)
        server.kill()
        with pytest.raises(StoreUnavailable, match="can't read the subscription"):
            reader.until(lambda: False)
        reads.close()


def test_another_worker_with_the_same_name_is_told(
    ministack: Ministack, name: str, fan_out: Callable[..., FanOutReads]
) -> None:
    """For five seconds AWS refuses the second worker; then it takes the shard over, and the first
    fails with the reason."""
    put(ministack, name, n(3))
    first = Reader(fan_out(name, "same"), ReadRequest(name, 0))
    first.until_has(n(3))
    second = Reader(fan_out(name, "same"), ReadRequest(name, 0))
    while not second.values:
        second.once()
    assert second.values == n(3)
    with pytest.raises(StoreUnavailable, match="another worker subscribes as same") as told:
        first.until(lambda: False)
    assert "kinesis.fan_out" in told.value.hint


def test_an_end_and_its_children(
    ministack: Ministack, name: str, fan_out: Callable[..., FanOutReads]
) -> None:
    put(ministack, name, n(2))
    reader = Reader(fan_out(name), ReadRequest(name, 0))
    reader.until_has(n(2))
    ministack.client("kinesis").split_shard(
        StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127)
    )
    reader.until(lambda: reader.got[-1].iterator is None)
    assert reader.got[-1].has_children
    assert [shard.parents for shard in reader.reads.shards(name)] == [(0,), (0,)]


def test_it_registers_once(
    ministack: Ministack, name: str, fan_out: Callable[..., FanOutReads]
) -> None:
    fan_out(name, "me"), fan_out(name, "me")
    client = ministack.client("kinesis")
    arn = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    consumers = client.list_stream_consumers(StreamARN=arn)["Consumers"]
    assert [each["ConsumerName"] for each in consumers] == ["me"]


def test_a_server_that_does_not_push_is_waited_for_and_named(kinesis: KinesisLocal) -> None:
    create_streams(kinesis.client(), {"pushless": 1})
    reads = FanOutReads(kinesis.client(), "w", SystemClock())
    reads.register("pushless")
    reader = Reader(reads, ReadRequest("pushless", 0))
    with pytest.raises(StoreUnavailable, match="can't read the subscription"):
        reader.until(lambda: False)


def test_a_refusal_leaves_no_connection_open(
    ministack: Ministack, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def kept(connection: Any, response: Any) -> Any:
        opened.append(connection)
        return body(connection, response)

    body = kinesis_push._Body
    monkeypatch.setattr(kinesis_push, "_Body", kept)
    client = ministack.client("kinesis")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        next(pushes(client, f"arn:aws:kinesis:::stream/{name}", "s", {"Type": "TRIM_HORIZON"}))
    assert [connection.is_closed for connection in opened] == [True]


def test_without_http2_it_is_said_what_to_install(
    ministack: Ministack,
    name: str,
    fan_out: Callable[..., FanOutReads],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    reader = Reader(fan_out(name), ReadRequest(name, 0))
    with pytest.raises(ConfigError, match=r"claimtrace\[fanout\]"):
        reader.until(lambda: False)


# -- the form of the stream -----------------------------------------------------------------------


def message(payload: bytes, **headers: str) -> bytes:
    """Return a payload in the service's frame: lengths, their sum, headers, payload, checksum."""
    raw = b"".join(
        bytes([len(key) + 1]) + b":" + key.replace("_", "-").encode()
        + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in headers.items()
    )  # fmt: skip
    lengths = struct.pack(">II", 16 + len(raw) + len(payload), len(raw))
    body = lengths + struct.pack(">I", zlib.crc32(lengths)) + raw + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(payload: bytes) -> bytes:
    return message(payload, message_type="event", event_type="SubscribeToShardEvent")


def body_of(chunks: list[bytes]) -> Any:
    response = SimpleNamespace(status_code=200, iter_raw=lambda: iter(chunks), close=lambda: None)
    return kinesis_push._Body(response, response)


PAGES = [b'{"Records":[],"ContinuationSequenceNumber":"%d","MillisBehindLatest":%d}' % (i, i)
         for i in range(5)]  # fmt: skip


@given(cuts=st.lists(st.integers(0, 2000), max_size=30))
def test_messages_are_whole_however_the_network_cuts_them(cuts: list[int]) -> None:
    whole = b"".join(map(event, PAGES))
    at = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    body = body_of([whole[a:b] for a, b in itertools.pairwise(at)])
    assert list(body.stream()) == list(map(event, PAGES))


@given(cut=st.integers(1, 2 * len(event(PAGES[0])) - 1))
def test_half_a_message_is_none(cut: int) -> None:
    whole = b"".join(map(event, PAGES[:2]))
    found = list(body_of([whole[:-cut]]).stream())
    assert found == [event(page) for page in PAGES[: len(found)]]
    assert len(found) < 2


@given(at=st.integers(0, len(event(PAGES[0])) - 1), bit=st.integers(0, 7))
def test_a_damaged_message_is_never_a_page(at: int, bit: int) -> None:
    spoilt = bytearray(event(PAGES[0]))
    spoilt[at] ^= 1 << bit
    found: list[Pushed | None] = []
    with suppress(BotoCoreError, ClientError):
        found += map(kinesis_push._event, body_of([bytes(spoilt)]).stream())
    assert not found


@pytest.mark.parametrize("length", [0, 3, 2**31])
def test_a_message_of_a_senseless_length_is_refused(length: int) -> None:
    with pytest.raises(BotoCoreError, match="a message of"):
        list(body_of([struct.pack(">I", length) + b"x" * 20]).stream())


@pytest.mark.parametrize(
    ("code", "kind"),
    [("ResourceInUseException", TakenOver), ("KMSThrottlingException", ClientError)],
)
def test_an_exception_in_the_stream_has_its_code(code: str, kind: type[Exception]) -> None:
    told = message(b'{"message":"so"}', message_type="exception", exception_type=code)
    with pytest.raises(kind, match=code):
        kinesis_push._event(told)


def test_what_isnt_a_page_is_passed_over() -> None:
    first = message(b"{}", message_type="event", event_type="initial-response")
    assert kinesis_push._event(first) is None
    assert kinesis_push._event(event(PAGES[3])) == Pushed([], None, 3, [], "3")
    with pytest.raises(BotoCoreError):
        kinesis_push._event(event(b'{"Records":5}'))


def test_pushed_reads_need_not_be_shared(ministack: Ministack) -> None:
    reads = FanOutReads(ministack.client("kinesis"), "w", SystemClock())
    source = KinesisSource(reads, {}, SystemClock(), print, 1)
    source.share_with(3)
    assert source.readers == 0
    polled = KinesisReads(ministack.client("kinesis"))
    source = KinesisSource(polled, {}, SystemClock(), print, 1)
    source.share_with(3)
    assert source.readers == 3
