"""A record is sent to Kinesis again once, wherever the process that sends it dies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.adapters.tables.table import Change
from claimtrace.clock import ManualClock
from claimtrace.events import Outgoing
from producers.adapters.kinesis_resend import names_sent, send_once
from producers.sending.sink import ListSink

WANTED = [(f"claims.filed/0/{n}", Outgoing("claims.filed", 0, b"k", b"%d" % n, 1)) for n in (1, 2)]


class Killed(BaseException):
    """The death of the process."""


class Deadly:
    """Counts the steps of a run, and dies before or after one of them."""

    def __init__(self, table: SqliteTable, stream: ListSink, dies_at: int) -> None:
        self.table, self.stream, self.dies_at, self.steps = table, stream, dies_at, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed

    def put(self, change: Change) -> bool:
        self.step()
        done = self.table.put(change)
        self.step()
        return done

    def put_always(self, item: dict[str, str | int]) -> None:
        self.step()
        self.table.put_always(item)
        self.step()

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        self.step()
        self.stream.send(outgoing)
        self.step()

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream if name in ("flush", "close") else self.table, name)


def run(table: SqliteTable, stream: ListSink, clock: ManualClock, dies_at: int = 0) -> set[str]:
    deadly = Deadly(table, stream, dies_at)
    return send_once(
        deadly, deadly, WANTED, lambda _, record: record in stream.sent, clock, lambda _: None  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("dies_at", range(1, 13))
def test_a_record_is_sent_once_wherever_the_process_dies(tmp_path: Path, dies_at: int) -> None:
    clock, stream = ManualClock(1), ListSink()
    table = SqliteTable(tmp_path / "notes.db")
    table.create(clock)
    with pytest.raises(Killed):
        run(table, stream, clock, dies_at)
    run(table, stream, clock)
    assert stream.sent == [record for _, record in WANTED]
    assert names_sent(table) == {name for name, _ in WANTED}
    assert run(table, stream, clock) == set()
    assert len(stream.sent) == 2


def test_a_call_that_may_be_under_way_is_waited_for(tmp_path: Path) -> None:
    clock, stream = ManualClock(1), ListSink()
    table = SqliteTable(tmp_path / "notes.db")
    table.create(clock)
    with pytest.raises(Killed):
        run(table, stream, clock, 3)  # before it was sent
    run(table, stream, clock)
    assert clock.now_ms() >= 15_000
