"""The canonical workload is what its page says, the same on every run, and small in memory."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace

import msgspec
import numpy as np

from benchmarks.canonical import DOMAIN, LABELLED_RATIO, as_records, events
from benchmarks.champion import open_line
from benchmarks.line import KEY, NOW_MS
from benchmarks.scale import compact, window_usage
from benchmarks.stages import PLACES, time_stages
from benchmarks.stopwatch import Stopwatch
from claimtrace.batches.accepted import Accepted
from claimtrace.encoding.decoder import Decoder
from claimtrace_examples.auto_claims import ClaimAdjudicated, ClaimFiled
from stream.journal.plan import plan_of
from stream.offline_rows.rows import PendingRows

POLICIES = 3_000
MOST_BYTES_PER_ENTITY_EVENT = 32


def test_same_seed_same_bytes():
    assert list(events(50, 300)) == list(events(50, 300))
    assert list(events(50, 300)) != list(events(50, 300, seed=8))


def test_a_claim_has_35_fields_and_a_kilobyte():
    sent = list(events(1000, 2000))
    claims = [each.value for each in sent if each.topic == ClaimFiled.topic]
    assert {len(msgspec.json.decode(value)) for value in claims} == {35}
    assert 1_080 < np.mean([len(value) for value in claims]) < 1_150
    assert len(DOMAIN.features) == 40
    labels = sum(each.topic == ClaimAdjudicated.topic for each in sent)
    assert 0.8 * LABELLED_RATIO < labels / len(claims) < 1.2 * LABELLED_RATIO


def test_events_are_in_order_and_every_one_is_accepted():
    records = as_records(list(events(400, 1000)), {})
    times = [record.log_time_ms for record in records]
    assert times == sorted(times)
    wire = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
    assert all(isinstance(answer, Accepted) for answer in wire.decode(records))


def test_an_entity_event_takes_at_most_32_bytes(tmp_path):
    line = open_line(tmp_path, POLICIES)
    engine, positions = line.engine(), {}
    sent = events(POLICIES, 2 * POLICIES)
    while batch := list(islice(sent, 1000)):
        records = as_records(batch, positions)
        engine.step(plan_of(engine.plan + 1, records, None, NOW_MS), records)
    line.close()
    compact(engine)
    entries, size = window_usage(engine)
    assert entries > 2.5 * POLICIES  # a year of policies and cars, a quarter of phones and accounts
    assert size / entries <= MOST_BYTES_PER_ENTITY_EVENT


def test_every_place_of_a_stage_is_there(tmp_path):
    scorer = SimpleNamespace(margins=len, probabilities=len)
    line, watch = open_line(tmp_path, POLICIES), Stopwatch()
    before = PendingRows.add
    try:
        time_stages(watch, line.driver(), scorer)
    finally:
        PendingRows.add = before
        line.close()
    assert set(watch.seconds) == {stage for _, stage in PLACES}


def test_stages_count_for_themselves_only():
    class Work:
        def outer(self):
            return sum(self.inner() for _ in range(20))

        def inner(self):
            return sum(range(20_000))

    work, watch = Work(), Stopwatch()
    watch.time(work, "outer", "outer")
    watch.time(work, "inner", "inner")
    assert work.outer() == 20 * sum(range(20_000))
    assert watch.seconds["inner"] > watch.seconds["outer"] > 0
