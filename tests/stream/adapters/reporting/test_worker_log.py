"""Each event of a worker's life is in its log once, with what belongs to it."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from claimtrace.decisions import ModelRef
from claimtrace.encoding.encoder import encode
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.reporting.log_lines import end_log, start_log
from stream.adapters.reporting.worker_log import WorkerLog
from stream.engine.effects import Counts
from stream.engine.engine import Engine
from stream.journal.plan import JOURNAL
from stream.worker.driver import Driver
from stream.worker.observer import Observers, WorkerObserver
from stream.worker.parts import Cadence, LogParts, Stores
from stream.worker.store_names import StoreNames
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

FIRST, SECOND = ModelRef("auto_claims", 1, "a" * 64), ModelRef("auto_claims", 2, "b" * 64)


class Clocked:
    """A monotonic time that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = start_log(stream, "json", "info")
    yield stream
    end_log(handler)


def told(out: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "level")} for line in lines]


def a_log(clock: Clocked | None = None) -> WorkerLog:
    names = StoreNames(DOMAIN.topics, {"claims-team": "log", "/srv/rows": "offline"})
    return WorkerLog(names, clock or Clocked())


def test_ready_paused_and_resumed_are_each_said_once(out: io.StringIO) -> None:
    clock = Clocked()
    log = a_log(clock)
    log.replayed(40)
    clock.now_s = 103.5
    for _ in range(3):
        log.ready(True)
    for _ in range(4):  # four tries
        log.ready(False)
        log.paused("claims-team")
        clock.now_s += 1
    log.paused("/srv/rows/decisions")
    for _ in range(3):
        log.ready(True)
    assert told(out) == [
        {"event": "ready", "seconds": 3.5, "replayed_records": 40},
        {"event": "paused, waiting for: log", "store": "log", "where": "claims-team"},
        {"event": "paused, waiting for: offline", "store": "offline",
         "where": "/srv/rows/decisions"},
        {"event": "resumed", "store": "offline", "seconds": 4.0},
    ]  # fmt: skip


def test_a_pause_before_the_start_is_over_is_not_ready(out: io.StringIO) -> None:
    log = a_log()
    log.ready(False)
    log.paused("source")
    log.ready(True)  # the broker answers; the journal is applied after it
    assert [line["event"] for line in told(out)] == ["paused, waiting for: log", "resumed"]
    log.ready(True)
    assert told(out)[-1]["event"] == "ready"


def test_a_store_that_answers_while_the_worker_starts_is_said(out: io.StringIO) -> None:
    log = a_log()
    log.paused("source")
    log.answered()
    log.answered()
    log.ready(True)
    assert [line["event"] for line in told(out)] == ["paused, waiting for: log", "resumed", "ready"]


def test_another_model_is_said_once(out: io.StringIO) -> None:
    log = a_log()
    for ref in (FIRST, FIRST, SECOND, SECOND, FIRST):
        log.model(ref, "numba")
    assert [(line["model"], line["before"]) for line in told(out)] == [
        ("auto_claims/1", "none"), ("auto_claims/2", "auto_claims/1"),
        ("auto_claims/1", "auto_claims/2"),
    ]  # fmt: skip


def test_the_first_plan_is_said_again_when_the_journal_comes_back(out: io.StringIO) -> None:
    log = a_log()
    log.planned(1, 10)
    log.planned(2, 10)
    log.rebalanced("revoked", {("claims.filed", 0)})
    log.planned(3, 10)
    log.rebalanced("lost", {JOURNAL, ("claims.filed", 1)})
    log.planned(9, 5)
    events = [(line["event"], line.get("plan")) for line in told(out)]
    assert events == [
        ("first plan written", 1),
        ("rebalance: partitions handed over", None),
        ("rebalance: partitions lost", None),
        ("first plan written", 9),
    ]


def test_many_partitions_are_cut(out: io.StringIO) -> None:
    a_log().rebalanced("gained", {("claims.filed", n) for n in range(1000)})
    (line,) = told(out)
    assert line["count"] == 1000
    assert line["partitions"].endswith("and 950 more")
    assert len(line["partitions"]) < 1500


def test_a_worker_of_a_group_says_its_life(out: io.StringIO) -> None:
    world = SharedWorld(np.random.default_rng(1), 1, lambda: None)
    network, rows = Network(world), SharedRows(world)
    driver = Driver(
        Engine(DOMAIN, terms(1), KEY, no_models),
        LogParts(SharedSource(world), SharedJournal(world), network, Member(world, network)),
        Stores(rows, OwnSnapshots(world)), Cadence(snapshot=(5, 1e9), offline=(1, 1e9)),
        SharedClock(world, lambda: None), lambda: None, Observers(a_log(), WorkerObserver()),
    )  # fmt: skip
    driver.recover()
    for _, event, _, at in a_stream(3, 20):
        world.put(Outgoing(event.topic, 0, b"k", encode(event), at))
    answers, store = iter([False] * 3), rows.append_once

    def hesitate(*args: Any, **named: Any) -> bool:
        if next(answers, True):
            return store(*args, **named)
        raise StoreUnavailable("no answer", where="/srv/rows/labels")

    rows.append_once = hesitate  # type: ignore[method-assign]
    while not world.is_quiet():
        driver.step(5)
    driver.finish()
    lines = told(out)
    events = [line["event"] for line in lines]
    assert events[:3] == ["ready", "took over partitions", "partitions owned"]
    assert "claims.filed/0" in lines[1]["partitions"]
    assert "claims.journal/0" in lines[1]["partitions"]
    assert [line for line in lines if line["event"] == "first plan written"] == [
        {"event": "first plan written", "plan": 1, "records": 5}
    ]
    assert events.count("paused, waiting for: offline") == 1
    assert events.count("resumed") == 1
    assert any("trying again" in event for event in events)
    assert "snapshot published" in events


@pytest.mark.parametrize(
    ("where", "store"),
    [
        ("claims-team", "log"),
        ("group", "log"),
        ("prod.claims.filed/7", "log"),
        ("claims-table", "journal"),
        ("s3://bucket/rows/decisions", "offline"),
        ("/srv/models/auto_claims", "models"),
        ("/data/state/snapshots/9", "snapshots"),
        ("/data/state", "journal"),
        ("/data/log.db", "log"),
        ("labels", "offline"),
        ("/database", "other"),
        ("s3://bucket/rows-of-somebody", "other"),
        ("", "other"),
    ],
)
def test_every_store_of_a_worker_has_its_name(where: str, store: str) -> None:
    places = {
        "claims-team": "log", "prod.claims.filed": "log", "claims-table": "journal",
        "s3://bucket/rows": "offline", "/srv/models": "models", "/data/state": "journal",
        "/data/state/snapshots": "snapshots", "/data/log.db": "log", "": "schemas",
    }  # fmt: skip
    assert StoreNames(["claims.filed"], places).of(where) == store


def test_all_observers_hear_everything() -> None:
    calls = {
        "passed": ("read",), "ready": (True,), "applied": (3, Counts(), 0.1),
        "topic_partition": ("claims.filed", 0, 1, 2), "owned": (1,), "retained": (1,),
        "rebalanced": ("gained", frozenset({JOURNAL})), "replayed": (1,), "paused": ("source",),
        "committed": (True,), "answered": (),
        "planned": (1, 2), "journal": (0.1,), "offline": (0.1,),
        "snapshot": (1, 0.1), "model": (FIRST, "numba"), "notified": ("sent", 1),
        "rollout": (None,), "slowed": (2.5,), "lost": (1,),
    }  # fmt: skip
    methods = {name for name, _ in inspect.getmembers(WorkerObserver, inspect.isfunction)}
    assert set(calls) == methods - {"__init__"}
    for name, arguments in calls.items():
        heard: list[Any] = []
        ears = [WorkerObserver(), WorkerObserver()]
        for ear in ears:
            setattr(ear, name, lambda *args, heard=heard: heard.append(args))
        getattr(Observers(*ears), name)(*arguments)
        assert heard == [arguments, arguments], name
