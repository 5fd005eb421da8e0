"""The contract of all journals: acknowledged plans are read back, and the first plan wins.

Faults that only a file has (a torn line, a full disk) are in `test_file_journal.py`.

"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimtrace.decisions import JOURNAL_TOPIC, ModelRef
from claimtrace.errors import StateError, StoreUnavailable
from stream.adapters.kafka.journal import KafkaJournal
from stream.adapters.kinesis.table_journal import TableJournal
from stream.journal.journal import Journal
from stream.journal.plan import Plan, Range
from stream.journal.terms import Terms
from tests.contracts.journal_grounds import (
    TERMS,
    DynamoJournalStore,
    JournalStore,
    KafkaJournalStore,
)
from tests.servers.topics import delete_before, read_topic


def a_plan(number: int, now_ms: int = 0) -> Plan:
    model = ModelRef("claims", number, "d" * 64) if number % 2 else None
    ranges = [Range("claims.filed", p, number * 5, number * 5 + 5 + p) for p in range(number % 4)]
    unknown = [7, 2**31] if number % 3 == 0 else []
    return Plan(number=number, ranges=ranges, model=model, now_ms=now_ms, unknown_schemas=unknown)


def filled(store: JournalStore, number: int) -> Journal:
    journal: Journal = store.open()
    for n in range(1, number + 1):
        assert journal.append(a_plan(n)) == a_plan(n)
    return journal


def raised_by(work: Callable[[], Any]) -> StateError:
    """Return the error that reading raises before long: a record takes a while to arrive."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        try:
            work()
        except StateError as error:
            return error
    raise AssertionError("nothing was raised")


# -- what is read back ----------------------------------------------------------------------------

texts = st.text(max_size=20)
models = st.none() | st.builds(ModelRef, texts, st.integers(1, 10**9), texts)
spans = st.builds(Range, texts, *[st.integers(0, 2**62)] * 3)
bodies = st.tuples(
    st.lists(spans, max_size=4),
    models,
    st.integers(-(2**53), 2**53),
    st.lists(st.integers(0, 2**32 - 1), max_size=3),
)


def test_what_is_read_back_is_what_was_appended(store: JournalStore) -> None:
    journal = store.open()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(bodies, min_size=1, max_size=5))
    def check(made: list[Any]) -> None:
        first = journal.next_number
        plans = [
            Plan(number=first + n, ranges=ranges, model=model, now_ms=now_ms, unknown_schemas=ids)
            for n, (ranges, model, now_ms, ids) in enumerate(made)
        ]
        assert [journal.append(plan) for plan in plans] == plans
        written.extend(plans)

    written: list[Plan] = []
    check()
    for reader in (journal, store.open()):
        assert list(reader.read(1)) == written
        assert reader.next_number == len(written) + 1


def test_it_is_read_from_any_number_on(store: JournalStore) -> None:
    journal = filled(store, 12)
    marks = {n: journal.bookmark(n) for n in range(13)}
    wanted = [a_plan(n) for n in range(1, 13)]
    reader: Journal = store.open()
    for number in [1, 13, 5, 12, 2, 13, 1]:
        assert list(reader.read(number, marks[number - 1])) == wanted[number - 1 :], number
        assert reader.next_number == 13
    for number in [5, 1, 12]:
        assert list(store.open().read(number)) == wanted[number - 1 :], number
        assert list(journal.read(number)) == wanted[number - 1 :], number
    for number in (6, 13):  # an older bookmark is no worse
        last = store.open()
        assert list(last.read(number, marks[2])) == wanted[number - 1 :]
    assert last.append(a_plan(13)) == a_plan(13), "it goes on at the end"


def test_an_empty_journal_has_no_plans(store: JournalStore) -> None:
    for journal in (store.open(), store.open()):
        assert (list(journal.read(1)), journal.next_number) == ([], 1)


# -- terms ----------------------------------------------------------------------------------------


def other(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    return [*value, "x"] if isinstance(value, list) else "other"


def test_other_terms_are_refused_by_name(store: JournalStore) -> None:
    filled(store, 1)
    may_differ = {"topic_ids", "edition", "texts"}
    for name in sorted(set(Terms.__struct_fields__) - may_differ):
        changed = {name: other(getattr(TERMS, name))}
        with pytest.raises(StateError, match=f"begun with {name} = ") as caught:
            store.open(msgspec.structs.replace(TERMS, **changed))
        assert caught.value.hint
    texts = msgspec.structs.replace(TERMS, texts={"other": "words"})
    assert store.open(texts).terms == TERMS, "a journal keeps its own texts"
    assert list(store.open().read(1)) == [a_plan(1)]


def test_terms_of_another_version_are_refused(store: JournalStore) -> None:
    store.put(b'{"domain":"auto_claims"}')
    with pytest.raises(StateError, match="another version"):
        store.open()


def test_a_reader_takes_the_terms_that_are_there(several: Any) -> None:
    with pytest.raises(StateError, match="no journal yet"):
        several.open(None)
    filled(several, 2)
    assert several.open(None).terms == TERMS
    assert list(several.open(None).read(1)) == [a_plan(1), a_plan(2)]


def both(*works: Callable[[], Any]) -> list[Any]:
    """Return what several threads return or raise when they start together."""
    barrier, done = threading.Barrier(len(works)), [None] * len(works)

    def run(at: int) -> None:
        barrier.wait()
        try:
            done[at] = works[at]()
        except Exception as error:
            done[at] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


@pytest.mark.parametrize("turn", range(3))
def test_two_that_start_together_agree_on_the_terms(several: Any, turn: int) -> None:
    mine = [msgspec.structs.replace(TERMS, topic_ids=[str(n)]) for n in range(2)]
    journals = both(*[lambda terms=terms: several.open(terms) for terms in mine])
    assert journals[0].terms == journals[1].terms
    assert journals[0].terms in mine
    assert [journal.is_empty for journal in journals] == [True, True]
    assert journals[0].append(a_plan(1)) == a_plan(1)
    for journal in (*journals, several.open()):
        assert list(journal.read(1)) == [a_plan(1)]
        assert journal.terms == journals[0].terms
        assert not journal.is_empty


def test_of_two_with_other_terms_one_is_refused(several: Any) -> None:
    mine = [TERMS, msgspec.structs.replace(TERMS, reasons=9)]
    found = both(*[lambda terms=terms: several.open(terms) for terms in mine])
    refused = [each for each in found if isinstance(each, StateError)]
    begun = [each for each in found if isinstance(each, KafkaJournal | TableJournal)]
    assert (len(refused), len(begun)) == (1, 1)
    assert list(begun[0].read(1)) == []


# -- several writers ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_first_plan_with_a_number_wins(several: Any, seed: int) -> None:
    """Two workers act as the sequencer; both apply what they read back, and it is the same."""

    ready = threading.Barrier(3)

    def write(who: int) -> tuple[list[Plan], int]:
        journal, rng = several.open(), np.random.default_rng([seed, who])
        seen: list[Plan] = []
        won = lost = 0
        ready.wait(30)  # all three want to write the first one
        while len(seen) < 30 or not won:
            if seen and rng.random() < 0.3:
                seen += list(journal.read(journal.next_number))
                continue
            mine = a_plan(journal.next_number, now_ms=who)
            first = journal.append(mine)
            assert first == mine or first.now_ms != who
            seen.append(first)
            won, lost = won + (first == mine), lost + (first != mine)
        return seen, lost

    found = both(*[lambda who=who: write(who) for who in (1, 2, 3)])
    written = list(several.open().read(1))
    assert [plan.number for plan in written] == list(range(1, len(written) + 1))
    for seen, _ in found:
        assert seen == written[: len(seen)]
    assert {plan.now_ms for plan in written} == {1, 2, 3}
    assert sum(lost for _, lost in found) >= 2, "they never raced"


def test_a_plan_that_lost_is_ignored_wherever_it_stands(shared: KafkaJournalStore) -> None:
    journal = filled(shared, 3)
    for number in (1, 3, 2):
        shared.put(msgspec.json.encode(a_plan(number, now_ms=99)))
    assert journal.append(a_plan(4)) == a_plan(4)
    shared.put(msgspec.json.encode(a_plan(1, now_ms=99)))
    wanted = [a_plan(n) for n in range(1, 5)]
    for reader in (journal, shared.open()):
        assert list(reader.read(1)) == wanted


# -- what doesn't belong there --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "body"),
    [
        (b"plan", b""),
        (b"plan", b'{"number":4,"ranges":[["claims.fi'),
        (None, b"hello"),
        (b"else", b'{"number":4,"ranges":[],"model":null,"now_ms":0,"x":1}x'),
    ],
)
def test_a_foreign_record_is_refused(
    shared: KafkaJournalStore, key: bytes | None, body: bytes
) -> None:
    journal = filled(shared, 3)
    shared.put(body, key)
    for reader in (shared.open(), journal):
        error = raised_by(partial(lambda journal: list(journal.read(1)), reader))
        assert "is no plan" in error.what
        assert error.where == JOURNAL_TOPIC
        assert "who else writes" in error.hint


def test_a_gap_is_refused(shared: KafkaJournalStore) -> None:
    journal = filled(shared, 3)
    shared.put(msgspec.json.encode(a_plan(5)))
    with pytest.raises(StateError, match="plan 5 follows plan 3"):
        journal.append(a_plan(4))
    for reader in (shared.open(), journal):
        assert (
            "plan 5 follows plan 3"
            in raised_by(partial(lambda journal: list(journal.read(1)), reader)).what
        )


def test_a_journal_that_lost_its_beginning_is_refused(shared: KafkaJournalStore) -> None:
    filled(shared, 6)
    delete_before(shared.cluster.bootstrap, {(JOURNAL_TOPIC, 0): 4})
    error = raised_by(shared.open)
    assert "no record at 0" in error.what
    assert "restore it" in error.hint


# -- brokers that end -----------------------------------------------------------------------------


def test_a_broker_that_is_killed_loses_no_plan(kafka_clusters: Any, tmp_path: Path) -> None:
    cluster = kafka_clusters()
    store = KafkaJournalStore(tmp_path, cluster)
    journal, appended, stop = store.open(), [], threading.Event()

    def write() -> None:
        while not stop.is_set():
            plan = a_plan(journal.next_number, now_ms=1)
            while True:
                try:
                    appended.append(journal.append(plan))
                    break
                except StoreUnavailable:
                    continue

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    for _ in range(2):
        until_more(appended, 20)
        cluster.kill()
        time.sleep(1)
        cluster.start()
    until_more(appended, 20)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert list(store.open().read(1)) == appended
    assert [plan.number for plan in appended] == list(range(1, len(appended) + 1))
    stored = read_topic(cluster.bootstrap, JOURNAL_TOPIC)
    assert len(stored) == len(appended) + 1, "each plan stands there once: an idempotent producer"
    store.close()


def until_more(appended: Sequence[Plan], number: int) -> None:
    wanted, until_s = len(appended) + number, time.monotonic() + 60
    while len(appended) < wanted:
        assert time.monotonic() < until_s, "no plan is taken any more"
        time.sleep(0.02)


def test_a_plan_in_a_table_cannot_be_written_twice(items: DynamoJournalStore) -> None:
    journal = filled(items, 3)
    for number in (1, 3):
        items.lose(number, msgspec.json.encode(a_plan(number, now_ms=99)))
    assert list(journal.read(1)) == [a_plan(n) for n in (1, 2, 3)]


def test_a_writer_that_never_heard_finds_its_own_plan(items: DynamoJournalStore) -> None:
    """The writer's call timed out after the table had carried it out."""
    journal = filled(items, 1)
    items.spoil(2, msgspec.json.encode(a_plan(2, now_ms=7)).decode())
    assert journal.append(a_plan(2, now_ms=7)) == a_plan(2, now_ms=7)
    assert journal.append(a_plan(3)) == a_plan(3)


@pytest.mark.parametrize(
    ("body", "what"),
    [("{", "is no plan"), (msgspec.json.encode(a_plan(9)).decode(), "plan 9 stands where plan 2")],
)
def test_what_is_no_plan_in_a_table_is_refused(
    items: DynamoJournalStore, body: str, what: str
) -> None:
    journal = filled(items, 3)
    items.spoil(2, body)
    with pytest.raises(StateError, match=what):
        list(journal.read(1))
    with pytest.raises(StateError, match=what):
        list(items.open().read(1))
