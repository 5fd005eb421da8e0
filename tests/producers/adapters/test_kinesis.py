"""The Kinesis sink: all records arrive, in order for each key, whatever a call refuses."""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress
from typing import Any

import pytest

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import DEAD_TOPIC
from claimtrace.errors import ConfigError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KinesisSettings, Settings
from producers.adapters import kinesis as sinks
from producers.adapters.kinesis import MAX_CALL_BYTES, MAX_ENTRIES, KinesisSink
from producers.adapters.kinesis_aggregation import hash_of
from stream.adapters.kinesis.polling import KinesisReads
from stream.adapters.kinesis.whole_stream import read_stream
from tests.servers.kinesis import KinesisLocal, create_streams
from tests.servers.kinesis_faults import document, error, inject, times

_numbers = itertools.count()


@pytest.fixture
def name(kinesis: KinesisLocal) -> str:
    """The common name of streams `NAME.a` of two shards and `NAME.claims.dead` of one."""
    name = f"sink{next(_numbers)}"
    create_streams(kinesis.client(), {f"{name}.a": 2, f"{name}.{DEAD_TOPIC}": 1})
    return name


def sink_of(client: Any, name: str, **settings: Any) -> KinesisSink:
    made = Settings(source=f"kinesis://{name}", kinesis=KinesisSettings(**settings))
    return KinesisSink(made.kinesis_connection, SystemClock(), client, jitter=lambda: 0.0)


def rows(count: int, keys: int = 7) -> list[Outgoing]:
    return [Outgoing("a", n % 3, b"k%d" % (n % keys), b"%d" % n, 1) for n in range(count)]


def found(kinesis: KinesisLocal, name: str, topic: str = "a") -> list[Any]:
    reads = KinesisReads(kinesis.client())
    return list(read_stream(reads, f"{name}.{topic}", topic, SystemClock()))


def by_key(records: list[Any]) -> dict[bytes, list[bytes]]:
    keyed: dict[bytes, list[bytes]] = {}
    for record in records:
        keyed.setdefault(record.key, []).append(record.value)
    return keyed


@pytest.mark.parametrize("aggregate", [False, True])
def test_all_arrives_in_order_for_each_key(
    kinesis: KinesisLocal, name: str, aggregate: bool
) -> None:
    sink = sink_of(kinesis.client(), name, aggregate=aggregate)
    sent = rows(1_300)
    for start in range(0, len(sent), 170):
        sink.send(sent[start : start + 170])
    sink.flush(30)
    assert (sink.acknowledged, sink.unacknowledged) == (1_300, 0)
    sink.close()
    records = found(kinesis, name)
    assert by_key(records) == by_key(sent)
    assert {r.partition for r in records} == {0, 1}
    for record in records:
        assert record.partition == int(hash_of(record.key.decode()) > 2**127 - 1)


def test_aggregated_records_are_few_and_within_their_limit(
    kinesis: KinesisLocal, name: str
) -> None:
    client, sizes = kinesis.client(), []
    inject(client, "PutRecords", lambda request: sizes.append(document(request)["Records"]))
    sink = sink_of(client, name, aggregate=True)
    sink.send([row._replace(value=b"x" * 900) for row in rows(200)])
    sink.flush(30)
    sink.close()
    packed = [len(each["Data"]) * 3 / 4 for call in sizes for each in call]
    assert len(packed) < 8
    assert max(packed) < 52_000
    assert len(found(kinesis, name)) == 200


def test_calls_keep_to_their_limits(kinesis: KinesisLocal, name: str) -> None:
    client, calls = kinesis.client(), []
    inject(client, "PutRecords", lambda request: calls.append(document(request)["Records"]))
    gate = threading.Event()
    inject(client, "PutRecords", lambda _: gate.wait(10) and None)
    sink = sink_of(client, name)
    sink.send([row._replace(value=b"x" * 20_000) for row in rows(600)])
    sink.send(rows(1_100))
    gate.set()
    sink.flush(60)
    sink.close()
    assert all(len(call) <= MAX_ENTRIES for call in calls)
    for call in calls:
        size = sum(len(each["Data"]) * 3 // 4 + len(each["PartitionKey"]) for each in call)
        assert size <= MAX_CALL_BYTES + 2 * len(call)
    assert max(map(len, calls)) == MAX_ENTRIES
    assert sum(map(len, calls)) == 1_700


def test_only_what_was_refused_is_sent_again(kinesis: KinesisLocal, name: str) -> None:
    """Fault B7: the call answers 200 with a result for each record."""
    client, calls = kinesis.client(), []
    throttled = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow"}
    there = {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}

    def some_refused(request: Any) -> Any:
        records = document(request)["Records"]
        calls.append([each["Data"] for each in records])
        if len(calls) > 2:
            return None
        answers = [throttled if i % 3 == 0 else there for i in range(len(records))]
        return 200, {"FailedRecordCount": len(answers[::3]), "Records": answers}

    inject(client, "PutRecords", some_refused)
    sink = sink_of(client, name)
    sink.send(rows(90))
    sink.flush(30)
    assert sink.acknowledged == 90
    sink.close()
    assert list(map(len, calls)) == [90, 30, 10]
    assert calls[1] == calls[0][::3]
    assert calls[2] == calls[1][::3]
    assert len(found(kinesis, name)) == 10, "records reported as stored are not sent again"


def test_throttling_and_outages_are_retried(kinesis: KinesisLocal, name: str) -> None:
    client = kinesis.client()
    inject(client, "PutRecords", times(3, error("ProvisionedThroughputExceededException")))
    inject(client, "PutRecords", times(2, error("InternalFailure", 500)))
    sink = sink_of(client, name)
    sink.send(rows(20))
    sink.flush(30)
    sink.close()
    assert by_key(found(kinesis, name)) == by_key(rows(20))


def test_records_that_wait_too_long_are_reported_and_kept(kinesis: KinesisLocal, name: str) -> None:
    client, is_down = kinesis.client(), threading.Event()
    is_down.set()
    inject(
        client, "PutRecords",
        lambda _: error("ProvisionedThroughputExceededException") if is_down.is_set() else None,
    )  # fmt: skip
    sink = sink_of(client, name)
    sink.send(rows(20))
    with pytest.raises(StoreUnavailable, match=r"20 records wait.*ThroughputExceeded"):
        sink.flush(0.2)
    is_down.clear()
    sink.flush(30)
    sink.close()
    assert len(found(kinesis, name)) == 20


def test_a_permanent_error_is_reported_and_nothing_is_dropped(
    kinesis: KinesisLocal, name: str
) -> None:
    client, is_denied = kinesis.client(), threading.Event()
    is_denied.set()
    inject(
        client, "PutRecords",
        lambda _: error("AccessDeniedException") if is_denied.is_set() else None,
    )  # fmt: skip
    sink = sink_of(client, name)
    sink.send(rows(5))
    with pytest.raises(ConfigError, match="AccessDenied") as caught:
        sink.flush(10)
    assert "policy" in caught.value.hint
    is_denied.clear()
    with suppress(ConfigError):  # raised once more if a call was retried in between
        sink.flush(10)
    sink.flush(30)
    sink.close()
    assert len(found(kinesis, name)) == 5


def test_a_record_too_large_for_a_stream_is_refused_at_once(
    kinesis: KinesisLocal, name: str
) -> None:
    sink = sink_of(kinesis.client(), name)
    with pytest.raises(ConfigError, match="larger than a stream accepts"):
        sink.send([Outgoing("a", 0, b"k", b"x" * (1 << 20), 1)])
    sink.close()


def test_a_full_queue_takes_nothing(
    kinesis: KinesisLocal, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "_ROOM", 10)
    client, gate = kinesis.client(), threading.Event()
    inject(client, "PutRecords", lambda _: gate.wait(20) and None)
    sink = sink_of(client, name)
    sink.send(rows(12))
    with pytest.raises(StoreUnavailable, match="accepts fewer records"):
        sink.send(rows(5))
    gate.set()
    sink.flush(30)
    sink.close()
    assert len(found(kinesis, name)) == 12


def test_dead_letters_keep_their_headers_and_others_go_without(
    kinesis: KinesisLocal, name: str
) -> None:
    sink = sink_of(kinesis.client(), name)
    headers = (("x-dead-reason", b"bad_json"), ("raw", b"\xff"))
    sink.send([Outgoing(DEAD_TOPIC, 2, None, b"\x00{", 1, headers)])
    sink.send([Outgoing("a", 2, b"k", b"{}", 1, headers), Outgoing("a", 2, b"k", None, 1)])
    sink.flush(30)
    sink.close()
    (dead,) = found(kinesis, name, DEAD_TOPIC)
    assert (dead.key, dead.value, dead.headers) == (b"2", b"\x00{", headers)
    assert [(r.value, r.headers) for r in found(kinesis, name)] == [(b"{}", ()), (None, ())]
