"""A steady rate, events moved to now, and headers; all on a manual clock."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.clock import ManualClock
from claimtrace.errors import UsageError
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims.events import ClaimAdjudicated, ClaimFiled, PolicyChanged
from producers.sending.headers import Headers
from producers.sending.live_times import LiveTimes, moved_by, with_run
from producers.sending.pace import BATCH_RECORDS, evenly, records_of
from producers.simulation.config import SimulationConfig
from producers.simulation.event_rows import EventClasses
from producers.simulation.simulator import Simulation

EVENTS = EventClasses(ClaimFiled, PolicyChanged, ClaimAdjudicated)
CONFIG = SimulationConfig(days=4, claims_per_day=60, policies=300, duplicate_ratio=0.2)


def numbered(count: int, log_time_ms: int = 10**12) -> list[Outgoing]:
    return [Outgoing("t", 0, b"k", b"%d" % n, log_time_ms) for n in range(count)]


@given(st.integers(0, 300), st.floats(0.5, 5000), st.floats(0.0, 3.0))
def test_each_record_goes_once_in_order_and_never_early(count, rate, stall_s):
    clock = ManualClock(0)
    sent: list[tuple[int, int]] = []
    for batch in evenly(numbered(count), clock, rate):
        assert len(batch) <= BATCH_RECORDS
        sent += [(int(record.value), clock.now_ms()) for record in batch]
        if len(sent) == 7:
            clock.sleep(stall_s)  # the sink stalls: overdue records follow at once
    assert [number for number, _ in sent] == list(range(count))
    assert all(at_ms >= 1000 * number / rate - 1.5 for number, at_ms in sent)
    if count and stall_s == 0:
        assert sent[-1][1] <= 1000 * (count - 1) / rate + 250


def test_a_rate_of_zero_never_waits():
    clock = ManualClock(5)
    sizes = [len(batch) for batch in evenly(numbered(2500), clock, 0)]
    assert sizes == [1000, 1000, 500]
    assert clock.now_ms() == 5


def test_the_run_ends_after_the_given_time():
    clock = ManualClock(0)
    sent = sum(len(batch) for batch in evenly(numbered(10_000), clock, 100, for_s=2.0))
    assert 195 <= sent <= 201
    assert clock.now_ms() <= 2_300


def test_a_stop_is_noticed_while_waiting():
    clock = ManualClock(0)
    sent = 0
    for batch in evenly(numbered(100), clock, 0.01, stopping=lambda: clock.now_ms() > 1_000):
        sent += len(batch)
    assert sent == 1
    assert clock.now_ms() < 2_000


def test_the_opening_portfolio_goes_at_once_and_doesnt_count():
    clock = ManualClock(0)
    records = numbered(1500, log_time_ms=99) + numbered(3, log_time_ms=100)
    seen = [
        (len(batch), clock.now_ms())
        for batch in evenly(records, clock, 2, for_s=60, at_once_until_ms=100)
    ]
    assert seen == [(1000, 0), (500, 0), (1, 0), (1, 500), (1, 1000)]


@pytest.mark.parametrize(("rate", "for_s"), [(-1, None), (1, -1)])
def test_negative_rates_and_times_are_refused(rate, for_s):
    with pytest.raises(UsageError):
        next(evenly(numbered(1), ManualClock(), rate, for_s))


def test_a_simulation_in_order_of_arrival_keeps_each_partitions_order():
    chunks = list(Simulation(CONFIG, EVENTS).chunks())
    for chunk in chunks:
        records = records_of(chunk, by_key=False)
        times = [record.log_time_ms for record in records]
        assert times == sorted(times)
        for part in chunk.parts:
            here = [r for r in records if (r.topic, r.partition) == (part.topic, part.partition)]
            assert [(r.key, r.value) for r in here] == list(
                zip(part.keys, part.values, strict=True)
            )
        assert {record.partition for record in records_of(chunk, by_key=True)} == {-1}


def test_live_events_keep_their_distances_and_repetitions_their_bytes():
    now_ms = 1_800_000_000_000
    chunks = Simulation(CONFIG, EVENTS).chunks()
    old = [r for chunk in chunks for r in records_of(chunk, by_key=True)]
    clock = ManualClock(now_ms)
    live = LiveTimes(clock.now_ms, "r1")
    new: list[Outgoing] = []
    for record in old:
        new += live([record])
        clock.sleep(0.01)
    copies: dict[bytes, set[bytes]] = {}
    for before, after in zip(old, new, strict=True):
        assert after.key == before.key
        copies.setdefault(before.value, set()).add(after.value)
    assert len(old) > len(copies)  # there are repetitions
    assert all(len(values) == 1 for values in copies.values())
    seen: set[bytes] = set()
    for before, after in zip(old, new, strict=True):
        if before.value in seen or not before.value.startswith(b"{") or _broken(before.value):
            continue
        seen.add(before.value)
        was, now = json.loads(before.value), json.loads(after.value)
        for name in ("filed_at", "changed_at", "decided_at", "incident_at"):
            if isinstance(was.get(name), str) and was[name].endswith("Z"):
                distance_ms = before.log_time_ms - _ms(was[name])
                assert after.log_time_ms - _ms(now[name]) == distance_ms
    assert any(b'"clm-r1-' in record.value for record in new)


def test_moving_leaves_everything_else_alone():
    value = b'{"at":"2024-02-29T23:59:59.999Z","on":"2024-02-29","text":"at 2024-02-29T23:59:59Z"}'
    assert moved_by(value, 1) == value.replace(
        b"2024-02-29T23:59:59.999Z", b"2024-03-01T00:00:00.000Z"
    )
    assert moved_by(b"\xff{broken", 5) == b"\xff{broken"
    assert moved_by(b'"9999-12-31T23:59:59.999Z"', 1) == b'"9999-12-31T23:59:59.999Z"'
    assert with_run(b'{"policy_id":"pol-000000004"}', "x") == b'{"policy_id":"pol-000000004"}'


def test_headers_name_the_schema_and_a_trace_of_its_own():
    records = [Outgoing("claims.filed", 0, b"p-1", b"{}", 1, (("mine", b"1"),))] * 50
    first = Headers("run-1")(records[:25]) + Headers("run-1")(records[25:])
    whole = Headers("run-1")(records)
    assert Headers("run-1")(records) == whole
    assert first[:25] == whole[:25]
    traces = {dict(record.headers)["traceparent"] for record in whole}
    assert len(traces) == 50
    assert all(re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in traces)
    assert traces.isdisjoint(
        dict(record.headers)["traceparent"] for record in Headers("run-2")(records)
    )
    assert whole[0].headers[:2] == (("mine", b"1"), ("schema", b"claims.filed/1"))


def _ms(text: str) -> int:
    from datetime import datetime, timedelta

    from claimtrace.events import EPOCH

    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def _broken(value: bytes) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return True
    return False
