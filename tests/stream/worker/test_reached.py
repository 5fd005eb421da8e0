"""A restart repeats no effect that is done; without a sound note it repeats all, in vain."""

from __future__ import annotations

import pytest

from claimtrace.errors import StateError
from stream.adapters.snapshots.reached_file import ReachedFile
from stream.journal.reached import Reached
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.state_contents import contents
from tests.worlds.stream_folder import Crash, World

NEVER = 10**9


@pytest.fixture
def world(tmp_path):
    """Ten plans and no snapshot; the rows of the first eight are stored."""
    world = World(tmp_path / "w", offline_every=100, snapshot_every=NEVER)
    world.put(as_records(a_stream(5, 400))[:250])
    seen = 0

    def crash(point: str) -> None:
        nonlocal seen
        seen += point == "committed"
        if seen == 10:
            raise Crash(point)

    with pytest.raises(Crash):
        world.run(crash)
    return world


def restarted(world, monkeypatch):
    """What the state says after a restart, and the plans that were decided on again."""
    decided = []
    driver_of = world.engine

    def engine():
        made = driver_of()
        decide = made.decider.decide

        def noted(applied, mine=None):
            decided.append(applied.plan.number)
            return decide(applied, mine)

        monkeypatch.setattr(made.decider, "decide", noted)
        return made

    monkeypatch.setattr(world, "engine", engine)
    driver, log = world.start()
    log.close()
    return contents(driver.engine), decided


def test_what_is_stored_is_not_decided_again(world, monkeypatch):
    note = ReachedFile(world.folder / "reached")
    reached = note.read()
    assert reached is not None
    assert reached.plan == 8
    state, decided = restarted(world, monkeypatch)
    assert decided == [9, 10]
    (world.folder / "reached").unlink()
    whole, decided = restarted(world, monkeypatch)
    assert decided == list(range(1, 11))
    assert state == whole


def test_a_damaged_note_is_none(world, monkeypatch):
    path = world.folder / "reached"
    content = bytearray(path.read_bytes())
    for at in (0, 40, len(content) - 1):
        path.write_bytes(bytes([*content[:at], content[at] ^ 1, *content[at + 1 :]]))
        assert ReachedFile(path).read() is None
    path.write_bytes(b"")
    assert ReachedFile(path).read() is None
    assert restarted(world, monkeypatch)[1] == list(range(1, 11))


def test_a_note_of_another_journal_is_refused(world):
    ReachedFile(world.folder / "reached").write(Reached(4, "another", {0: "c"}))
    with pytest.raises(StateError, match="belongs to another journal") as caught:
        world.start()
    assert "remove the file" in caught.value.hint


def test_a_note_beyond_the_journal_is_left_alone(world, monkeypatch):
    ReachedFile(world.folder / "reached").write(Reached(99, "another", {0: "c"}))
    assert restarted(world, monkeypatch)[1] == list(range(1, 11))
