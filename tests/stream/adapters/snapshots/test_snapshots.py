"""Snapshots are there whole or not at all; a damaged one is passed over, and nothing is lost."""

from __future__ import annotations

import errno
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import StateError
from stream.adapters.snapshots import fork_writer as writing
from stream.adapters.snapshots.snapshots import KEPT, Snapshots
from stream.adapters.snapshots.thread_writer import CopyBuffer
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.state_contents import contents
from tests.worlds.stream_folder import World

ARRAYS = {
    "empty": np.zeros((3, 0), np.int64),
    "times": np.array([-(2**62), 5], np.int64),
    "values/nan": np.array([[np.nan, 1.5], [-0.0, np.inf]]),
    "strided": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],
    "flags": np.array([True, False]),
}


@pytest.fixture
def store(tmp_path):
    """Its snapshots are written by a child."""
    return Snapshots(tmp_path, beside_from_bytes=0, copied_up_to_bytes=-1)


def copying(folder, arrays=None):
    """Its snapshots are written by a thread from a copy, for which it has room now."""
    found = Snapshots(folder, beside_from_bytes=0)
    arrays = ARRAYS if arrays is None else arrays
    assert not found.is_ready(arrays)
    until_s = time.monotonic() + 30
    while not found.is_ready(arrays):
        assert time.monotonic() < until_s
        time.sleep(0.001)
    return found


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes(), name


def test_arrays_come_back_to_the_bit(store):
    assert store.newest() is None
    store.write(7, ARRAYS)
    plan, found = store.newest()
    assert plan == 7
    same(found, ARRAYS)


@pytest.mark.parametrize("by", ["child", "copy"])
def test_what_changes_after_the_beginning_is_not_in_it(store, tmp_path, by):
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    arrays["big"] = np.arange(300_000)
    wanted = {name: array.copy() for name, array in arrays.items()}
    if by == "copy":
        store = copying(tmp_path, arrays)
    assert store.begin(7, arrays) == (by == "child")
    for array in arrays.values():
        array[...] = 1
    assert store.newest() is None
    assert store.is_written(wait=True)
    assert store.newest() is None, "it doesn't count before the stream says so"
    store.publish()
    same(store.newest()[1], wanted)
    store.cancel()


def test_in_the_loop_and_beside_it_the_bytes_are_the_same(tmp_path):
    by_child = Snapshots(tmp_path / "child", beside_from_bytes=0, copied_up_to_bytes=-1)
    stores = [Snapshots(tmp_path / "here", beside=False), by_child, copying(tmp_path / "copy")]
    contents = {store.write(3, ARRAYS).read_bytes() for store in stores}
    assert len(contents) == 1


def test_a_copy_has_room_made_for_it_only_where_one_is_wanted(tmp_path, monkeypatch):
    big = {"a": np.zeros(1000)}
    assert Snapshots(tmp_path, beside=False).is_ready(big)
    assert Snapshots(tmp_path, beside_from_bytes=8001).is_ready(big), "written here"
    assert Snapshots(tmp_path, beside_from_bytes=0, copied_up_to_bytes=7999).is_ready(big), (
        "a child"
    )
    store = copying(tmp_path, big)
    assert store.is_ready({"a": np.zeros(1200)}), "it has grown since"
    assert not store.is_ready({"a": np.zeros(2000)})
    store.cancel()
    assert store.is_ready({"a": np.zeros(2000)})

    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(CopyBuffer, "make_room", none_left)
    without = Snapshots(tmp_path, beside_from_bytes=0)
    assert not without.is_ready(big)
    without.cancel()
    assert without.is_ready(big)
    assert without.begin(3, big), "by a child"
    without.cancel()


def slow(monkeypatch, seconds: float) -> None:
    """Children that are still writing when the test looks."""
    write = writing._write_all
    monkeypatch.setattr(writing, "_write_all", lambda *a: (time.sleep(seconds), write(*a)))


def test_a_child_that_is_killed_leaves_the_older_one(store, tmp_path, monkeypatch):
    store.write(1, ARRAYS)
    slow(monkeypatch, 60)
    store.begin(2, ARRAYS)
    assert not store.is_written()
    os.kill(store._writing._pid, signal.SIGKILL)
    with pytest.raises(StateError, match="was killed") as caught:
        store.is_written(wait=True)
    assert "memory" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot-000000000001.bin"]
    monkeypatch.undo()
    store.write(3, ARRAYS)
    assert store.newest()[0] == 3


@pytest.mark.parametrize("by", ["loop", "child", "copy"])
def test_a_full_disk_is_told_and_leaves_the_older_one(tmp_path, monkeypatch, by):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if by == "copy":
        store = copying(tmp_path)
    else:
        store = Snapshots(
            tmp_path, beside=by == "child", beside_from_bytes=0, copied_up_to_bytes=-1
        )
    store.write(1, ARRAYS)
    monkeypatch.setattr(writing, "_write_all", full)
    with pytest.raises(OSError, match="No space left") as caught:
        store.write(2, ARRAYS)
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot-000000000001.bin"]


def test_without_room_for_a_child_the_stream_waits(store, monkeypatch):
    def none_left():
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(writing.os, "fork", none_left)
    store.write(4, ARRAYS)
    same(store.newest()[1], ARRAYS)


def test_the_child_holds_on_to_nothing_of_its_parent(store, monkeypatch):
    """A lock or a connection must be free when its owner is gone, though the child writes on."""
    reading, owned = os.pipe()
    slow(monkeypatch, 60)
    store.begin(2, ARRAYS)
    os.close(owned)
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""
    os.close(reading)
    store.cancel()


def test_who_leaves_leaves_nothing_behind(store, tmp_path, monkeypatch):
    slow(monkeypatch, 60)
    store.begin(2, ARRAYS)
    pid = store._writing._pid
    store.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(tmp_path.iterdir()) == []


def test_who_leaves_stops_the_thread(tmp_path, monkeypatch):
    arrays = {str(i): np.zeros(1000) for i in range(200)}
    store = copying(tmp_path, arrays)
    slow(monkeypatch, 0.05)
    store.begin(2, arrays)
    assert not store.is_written()
    store.cancel()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    store.write(3, arrays)
    same(store.newest()[1], arrays)


def test_the_newest_two_stay(store, tmp_path):
    for plan in (9, 10, 100, 1000):
        store.write(plan, {"plan": np.array([plan])})
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "snapshot-000000000100.bin", "snapshot-000000001000.bin"]  # fmt: skip
    assert KEPT == 2
    assert store.newest()[0] == 1000


def test_a_write_that_was_cut_short_is_not_there(store, tmp_path, monkeypatch):
    store.write(1, ARRAYS)

    def gone(handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", gone)
        with pytest.raises(KeyboardInterrupt):
            Snapshots(tmp_path, beside=False).write(2, ARRAYS)
    assert store.newest()[0] == 1
    assert list(tmp_path.glob("*.aside"))
    store.write(3, ARRAYS)
    assert not list(tmp_path.glob("*.aside")), "what a crash left goes with the next one"


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_damaged_one_is_passed_over(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("snapshots")
    store = Snapshots(folder)
    store.write(1, {"a": np.array([1])})
    newest = store.write(2, {"a": np.array([2])})
    content = bytearray(newest.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    newest.write_bytes(content)
    plan, arrays = store.newest()
    assert (plan, arrays["a"].tolist()) == (1, [1])


def test_all_damaged_is_an_error_that_says_what_to_do(store, tmp_path):
    for plan in (1, 2):
        store.write(plan, ARRAYS).write_bytes(b"rot")
    with pytest.raises(StateError, match="every snapshot is damaged") as caught:
        store.newest()
    assert "remove them" in caught.value.hint


def test_an_older_one_and_a_longer_replay_give_the_same_state(tmp_path):
    """And so do no snapshots at all, as the error's hint promises."""
    world = World(tmp_path, snapshot_every=50)
    world.put(as_records(a_stream(21, 180)))
    world.run()
    state, outputs, rows = world.state(), world.outputs(), world.offline_rows()
    paths = sorted((tmp_path / "snapshots").glob("*.bin"))
    assert len(paths) == 2
    content = bytearray(paths[-1].read_bytes())
    content[len(content) // 2] ^= 1
    paths[-1].write_bytes(content)
    driver, log = world.start()
    log.close()
    assert contents(driver.engine) == state
    for path in paths:
        path.write_bytes(b"rot")
    with pytest.raises(StateError, match="every snapshot"):
        world.start()
    for path in paths:
        path.unlink()
    driver, log = world.start()
    log.close()
    assert contents(driver.engine) == state
    assert world.outputs() == outputs
    assert world.offline_rows() == rows
