"""The tail of the log: outages are waited for, and nothing that fell meanwhile is missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Record
from serving.adapters.doors import tail as module
from serving.adapters.doors.tail import Tail


class World:
    """A log in memory, which may be down."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.is_down = False

    def decide(self, claim_id: str) -> None:
        at = len(self.records)
        value = b'{"claim_id":"%b","partition":0,"position":%d}' % (claim_id.encode(), at)
        self.records.append(Record(DECISIONS_TOPIC, 0, at, None, value, 0))

    def open(self) -> AFeed:
        self.check()
        return AFeed(self)

    def check(self) -> None:
        if self.is_down:
            raise StoreUnavailable("the disk is away", where="log")


class AFeed:
    def __init__(self, world: World) -> None:
        self._world, self._woken = world, threading.Event()

    def wake(self) -> None:
        self._woken.set()

    def read(self, positions: Mapping[tuple[str, int], int], *, wait: bool) -> list[Record]:
        if wait:
            self._woken.wait(0.02)
        self._woken.clear()
        self._world.check()
        return self._world.records[positions.get((DECISIONS_TOPIC, 0), 0) :]

    def ends(self) -> dict[tuple[str, int], int]:
        self._world.check()
        return {(DECISIONS_TOPIC, 0): len(self._world.records)}

    def fetch(self, topic: str, partition: int, position: int, most: int = 1) -> list[Record]:
        self._world.check()
        return self._world.records[position : position + most]

    def close(self) -> None:
        pass


def eventually(found: list[str], wanted: list[str]) -> None:
    for _ in range(600):
        if found == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(found)


def test_what_falls_during_an_outage_is_told_when_the_log_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.02)
    world, fell, told = World(), list[str](), list[str]()
    world.is_down = True  # it may be down at the start, too
    world.decide("before")

    def heard(records: list[Record]) -> None:
        fell.extend((r.value or b"").split(b'"')[3].decode() for r in records)

    tail = Tail(world.open, tmp_path / "index.db", heard, told.append)
    tail.start()
    eventually(told, ["decisions can't be read from the log: the disk is away [log]"])
    assert not tail.is_ready
    world.is_down = False
    assert tail.find("before").result(30) == world.records[0].value
    world.decide("first")
    tail.wake()
    eventually(fell, ["first"])
    world.is_down = True
    time.sleep(0.1)
    world.decide("meanwhile")
    asked = tail.find("meanwhile")
    assert asked.cancel(), "who has waited for too long gives up, and harms nobody"
    world.is_down = False
    eventually(fell, ["first", "meanwhile"])
    assert tail.find("meanwhile").result(30) == world.records[2].value
    assert tail.find("nobody").result(30) is None
    tail.close()
    assert len(told) == 1, "the same trouble is told once"
