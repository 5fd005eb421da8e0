"""The journal's file: a torn end is removed, damage is never read past, a full disk is survived.

The contract of every journal is tested in `test_journals.py`.

"""

from __future__ import annotations

import os
import resource
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import ModelRef
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.events import Record
from stream.adapters.embedded.file_journal import FileJournal, read_plans, read_terms
from stream.journal.plan import Plan, Range, in_plan_order, plan_of
from tests.simulation.histories import TIE_ORDER, Entry, merged
from tests.worlds.stream_folder import terms

TERMS = terms()


def a_plan(number):
    model = ModelRef("claims", number, "d" * 64) if number % 2 else None
    return Plan(
        number=number,
        ranges=[Range("claims.filed", 0, number * 5, number * 5 + 5)],
        model=model,
        now_ms=number,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def five(path):
    journal = FileJournal(path, TERMS)
    for number in range(1, 6):
        assert journal.append(a_plan(number)) == a_plan(number)
    journal.close()
    return path


def test_it_is_read_without_opening_it_for_writing(five):
    assert list(read_plans(five)) == [a_plan(n) for n in range(1, 6)]
    assert list(read_plans(five, 4)) == [a_plan(4), a_plan(5)]
    assert read_terms(five) == TERMS


def test_it_is_synced_before_it_is_acknowledged(path, monkeypatch):
    journal, synced = FileJournal(path, TERMS), []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(path.read_bytes()))
    journal.append(a_plan(1))
    assert b'"number":1' in synced[0]


def test_an_end_torn_anywhere_is_cut(five):
    whole = five.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        five.write_bytes(whole[:cut])
        journal = FileJournal(five, TERMS)
        kept = max(0, sum(end <= cut for end in ends) - 1)
        assert journal.next_number == kept + 1
        assert journal.append(a_plan(kept + 1)) == a_plan(kept + 1)
        journal.close()
        assert list(read_plans(five)) == [a_plan(n) for n in range(1, kept + 2)]


def test_damage_anywhere_before_the_end_is_refused(five):
    whole = five.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for at in range(0, last, 3):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        five.write_bytes(damaged)
        line = whole[:at].count(b"\n") + 1
        with pytest.raises(StateError, match=f"line {line} of the journal is damaged") as caught:
            FileJournal(five, TERMS)
        assert caught.value.where == str(five)
        assert five.read_bytes() == damaged, "nothing is changed"
        with pytest.raises(StateError, match="damaged"):
            list(read_plans(five))


def test_no_journal_is_said(path):
    with pytest.raises(StateError, match="no journal yet"):
        read_terms(path)


def test_a_plan_that_the_disk_did_not_take_is_tried_again_whole(path):
    """A full disk writes a part of the line: the retry must not be appended behind that part."""
    journal = FileJournal(path, TERMS)
    journal.append(a_plan(1))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="can't be written"):
                journal.append(a_plan(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(read_plans(path)) == [a_plan(1)]
    journal.append(a_plan(2))
    assert list(read_plans(path)) == [a_plan(1), a_plan(2)]


def test_a_plan_whose_sync_failed_stands_there_once(path, monkeypatch):
    journal = FileJournal(path, TERMS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken_sync)
        with pytest.raises(StoreUnavailable):
            journal.append(a_plan(1))
    journal.append(a_plan(1))
    assert list(read_plans(path)) == [a_plan(1)]


def broken_sync(handle):
    raise OSError(5, "Input/output error")


TOPIC_PARTITIONS = [("policies.changed", 0), ("claims.filed", 0), ("claims.filed", 1)]


@given(
    st.lists(st.tuples(st.sampled_from(TOPIC_PARTITIONS), st.integers(0, 5)), max_size=20),
    st.integers(0, 20),
)
@settings(deadline=None)
def test_plan_order_is_the_merge_wherever_it_is_cut(arrivals, cut):
    """A plan that is run again has the order in which its records were taken at first."""
    positions: dict[tuple[str, int], int] = {}
    entries, records = [], {}
    for (topic, partition), at in arrivals:
        position = positions[topic, partition] = positions.get((topic, partition), -1) + 1
        entry = Entry(topic, partition, str(position).encode(), at, None, 0)
        entries.append(entry)
        records[entry] = Record(topic, partition, position, None, entry.value, at)
    taken = [records[entry] for entry in merged(entries)]
    for part in (taken[:cut], taken[cut:]):
        shuffled = sorted(part, key=lambda r: (r.topic, r.partition, r.position))
        assert in_plan_order(shuffled, TIE_ORDER) == part
        spans = plan_of(1, part, None, 0).ranges
        assert sum(span.to_position - span.from_position for span in spans) == len(part)
        for record in part:
            assert any(
                (span.topic, span.partition) == (record.topic, record.partition)
                and span.from_position <= record.position < span.to_position
                for span in spans
            )


def test_a_missing_line_is_refused(five):
    lines = five.read_bytes().splitlines(keepends=True)
    five.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(StateError, match="plan 3 follows plan 1"):
        list(read_plans(five))
