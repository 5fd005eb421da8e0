"""Several workers on one journal: killed, expelled, paused, overtaken, with stores that fail.

SHARED_SEED=123 pytest tests/stream/worker/test_ownership.py          one life again
SHARED_SEEDS=20000 pytest -m long tests/stream/worker/test_ownership.py more of them
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

import stream.worker.ownership
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.encoding.encoder import encode
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims import DOMAIN
from stream.engine.engine import Engine
from stream.group.group import Checkpoint, Retained, Tail
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.offline_writer import OfflineWriter, Stored
from stream.worker.ownership import Ownership
from stream.worker.parts import Cadence, LogParts, Stores
from tests.simulation.lives import RowsInMemory
from tests.simulation.shared_lives import failures, live
from tests.simulation.shared_parts import (
    Member,
    OwnSnapshots,
    SharedClock,
    SharedJournal,
    SharedRows,
    SharedSource,
)
from tests.simulation.shared_world import Network, SharedWorld
from tests.worlds.random_events import KEY, a_stream
from tests.worlds.stream_folder import no_models, terms

ONE = os.environ.get("SHARED_SEED")
FEW = 31
QUICK = [int(ONE)] if ONE else range(FEW)
SEEDS = int(os.environ.get("SHARED_SEEDS", "400"))
CHUNK = 25
PATIENCE = 200
"""Lives among which each break must be seen."""


def report(found: list[tuple[int, str]]) -> str:
    return "\n".join(
        f"seed {seed}: {why}\n  again: SHARED_SEED={seed} pytest {__file__}" for seed, why in found
    )


@pytest.mark.slow
def test_a_few_shared_lives_end_as_if_nothing_had_happened() -> None:
    found = failures(QUICK)
    assert not found, report(found)


@pytest.mark.long
@pytest.mark.skipif(ONE is not None, reason="SHARED_SEED names one seed")
def test_many_shared_lives_end_as_if_nothing_had_happened() -> None:
    # the first lives are those of the test before
    chunks = [range(low, min(low + CHUNK, SEEDS)) for low in range(FEW, SEEDS, CHUNK)]
    found: list[tuple[int, str]] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for each in pool.map(failures, chunks):
            found += each
    assert not found, report(found)


@pytest.mark.slow
def test_shared_lives_hold_what_they_are_for() -> None:
    """A life in which nothing happens would let everything pass."""
    lives = [live(seed) for seed in range(1, 13)]
    happened = {what: sum(each.events.get(what, 0) for each in lives)
                for what in ("kill", "expel", "rebalance", "partition")}  # fmt: skip
    assert min(happened.values()) > 5, happened
    repeats = 0
    for each in lives:
        sent = [r for (topic, _), part in each.world.outputs.items() for r in part
                if topic == DECISIONS_TOPIC]  # fmt: skip
        repeats += len(sent) - len({r.value for r in sent})
        assert each.world.is_transactional <= (len(sent) == len({r.value for r in sent}))
    assert repeats > 5, "nobody ever had to send something again"
    assert sum(len(each.world.journal) - len(each.world.plans()) for each in lives) > 3


Change = Callable[[pytest.MonkeyPatch], None]


def swap(owner: Any, name: str, made: Any) -> Change:
    return lambda patch: patch.setattr(owner, name, made)


def around(owner: Any, name: str, made: Callable[..., Any]) -> Change:
    """`made` is given what was there before, then the arguments."""
    before = getattr(owner, name)
    return swap(owner, name, lambda *args: made(before, *args))


def without_before(
    self: RowsInMemory, table: str, rows: Any, *, versions: Any, before: Any
) -> bool:
    self.tables.setdefault(table, []).append(rows)
    self.versions.update({(table, writer): version for writer, version in versions.items()})
    return True


def not_read_back(self: SharedJournal, plan: Any) -> Any:
    for _ in range(4):
        self._world.turn()
    self._world.journal.append(plan)
    self._next_number += 1
    return plan


def chain_forgotten(before: Callable[..., Any], self: Ownership, *args: Any) -> None:
    kept = dict(self._engine.decider.chains)
    taken = self._decide_again

    def take(*more: Any) -> None:
        self._engine.decider.chains = dict(kept)
        taken(*more)

    self._decide_again = take  # type: ignore[method-assign,assignment]
    before(self, *args)
    del self._decide_again


def let_go_but_keep_sending(before: Callable[..., Any], self: Ownership) -> None:
    before(self)
    self._must_abort = False


def stored_too_soon(before: Callable[..., Any], self: Ownership) -> Any:
    self._note_stored(Stored(self._engine.plan, self._progress()))
    return before(self)


def commit_taken_for_done(before: Callable[..., Any], self: Ownership, *args: Any) -> bool:
    before(self, *args)
    return True


BREAKS: dict[str, Change] = {
    "sends nothing that may be there": swap(stream.worker.ownership, "_is_due", lambda *_: False),
    "sends all of it again": swap(stream.worker.ownership, "_is_due", lambda *_: True),
    "ignores the mark of what was sent": swap(
        stream.worker.ownership, "_is_due",
        lambda outgoing, number, checkpoint, tail: number > checkpoint.stored,
    ),
    "takes over before it has caught up": swap(Ownership, "_needed_plan", lambda *_: 0),
    "forgets the chain at a take-over": around(Ownership, "_take_over", chain_forgotten),
    "calls rows stored that wait": around(Ownership, "commit", stored_too_soon),
    "decides nothing again": swap(Ownership, "_decide_again", lambda *_: None),
    "lets batches go that others need": around(
        Retained, "release", lambda before, self, _: before(self, 10**9)
    ),
    "does not see that a place was away": swap(
        Ownership,
        "heartbeat",
        lambda self: self._group.poll(lambda _: None) if self._is_member else None,
    ),
    "keeps an open transaction": around(Ownership, "_release_all", let_go_but_keep_sending),
    "starts from any snapshot": swap(Driver, "_fits", lambda _: lambda _: True),
    "applies a plan it has not read back": swap(SharedJournal, "append", not_read_back),
    "stores rows whoever wrote before": swap(RowsInMemory, "append_once", without_before),
    "asks no store what it has": swap(OfflineWriter, "version", lambda *_: -1),
    "waits for others with rows in hand": around(
        Driver, "_flush", lambda before, self: None if self._ownership.is_ahead else before(self)
    ),
    "forgets rows that it took over": swap(Ownership, "has_rows", False),
    "takes a refused commit for done": around(Ownership, "_commit_once", commit_taken_for_done),
}  # fmt: skip


SEEN_IN = {
    "takes a refused commit for done": [84],
    "waits for others with rows in hand": [62],
    "does not see that a place was away": [61],
    "applies a plan it has not read back": [41],
    "forgets rows that it took over": [19],
}
"""Lives that are tried first: these breaks take half a minute to find from the beginning."""
LONG = ("waits for others with rows in hand", "forgets rows that it took over",
        "takes a refused commit for done", "asks no store what it has",
        "does not see that a place was away", "applies a plan it has not read back")  # fmt: skip
"""Breaks that are seen by the work never being done, or by few lives."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in BREAKS],
)
def test_each_break_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKS[name](monkeypatch)
    seeds = [*SEEN_IN.get(name, ()), *range(1, PATIENCE)]
    assert failures(seeds, most=1), f"a worker that {name} passes"


def decision(position: int, link: str) -> Outgoing:
    body = b'{"position":%d,"chain":"%s"}' % (position, link.encode() * 64)
    return Outgoing(DECISIONS_TOPIC, 0, None, body, 0)


def test_what_lies_on_the_log_is_not_sent_again() -> None:
    mark, tail = Checkpoint(emitted=3), Tail(7, "b" * 64)
    due = [stream.worker.ownership._is_due(decision(at, "b"), 9, mark, tail) for at in (6, 7, 8)]
    assert due == [False, False, True]
    assert stream.worker.ownership._is_due(decision(8, "b"), 4, mark, None)
    assert not stream.worker.ownership._is_due(decision(8, "b"), 3, mark, None)


def test_another_decision_at_the_end_of_the_log_is_refused() -> None:
    with pytest.raises(StateError, match="is not the one on the log"):
        stream.worker.ownership._is_due(
            decision(7, "a"), 9, Checkpoint(emitted=3), Tail(7, "b" * 64)
        )


class Alone(NamedTuple):
    """One worker in a world that is calm until told otherwise."""

    world: SharedWorld
    driver: Driver
    member: Member
    rows: SharedRows


def alone(stopping: Callable[[], bool] = lambda: False) -> Alone:
    world = SharedWorld(np.random.default_rng(1), 1, lambda: None)
    network, rows = Network(world), SharedRows(world)
    member = Member(world, network)
    driver = Driver(
        Engine(DOMAIN, terms(1), KEY, no_models),
        LogParts(SharedSource(world), SharedJournal(world), network, member),
        Stores(rows, OwnSnapshots(world)), Cadence(snapshot=(10**9, 1e9), offline=(1, 1e9)),
        SharedClock(world, lambda: None), lambda: None, WorkerObserver(), stopping,
    )  # fmt: skip
    driver.recover()
    put(world, 0, 20)
    while not world.is_quiet():
        driver.step(5)
    return Alone(world, driver, member, rows)


def put(world: SharedWorld, first: int, count: int) -> None:
    for _, event, _, at in a_stream(3, first + count)[first:]:
        world.put(Outgoing(event.topic, 0, b"k", encode(event), at))


def test_asked_to_stop_while_the_store_is_down_it_ends_and_commits_nothing() -> None:
    asked = False
    worker = alone(lambda: asked)
    before, from_s = dict(worker.world.checkpoints), worker.world.now_ms

    def refuse(*_: Any, **__: Any) -> bool:
        raise StoreUnavailable("no answer", where="the store")

    worker.rows.append_once = refuse  # type: ignore[method-assign]
    put(worker.world, 20, 10)
    asked = True
    with pytest.raises(StoreUnavailable):
        worker.driver.step(5)
    assert worker.world.now_ms - from_s < 40_000
    assert worker.world.checkpoints == before
    assert StoreUnavailable.exit_code != 0


def test_waiting_for_a_store_keeps_the_places() -> None:
    worker = alone()
    answers = iter([False] * 30)
    store, polls = worker.rows.append_once, 0

    def hesitate(*args: Any, **named: Any) -> bool:
        if next(answers, True):
            return store(*args, **named)
        raise StoreUnavailable("no answer", where="the store")

    def poll(*args: Any) -> Any:
        nonlocal polls
        polls += 1
        return Member.poll(worker.member, *args)

    worker.rows.append_once = hesitate  # type: ignore[method-assign]
    worker.member.poll = poll  # type: ignore[method-assign,assignment]
    put(worker.world, 20, 10)
    worker.driver.step(5)
    assert polls > 30
    while not worker.world.is_quiet():
        worker.driver.step(5)


def test_a_mark_reads_as_it_was_written() -> None:
    mark = Checkpoint(4, 3, "f" * 64)
    assert msgspec.json.decode(msgspec.json.encode(mark), type=Checkpoint) == mark
