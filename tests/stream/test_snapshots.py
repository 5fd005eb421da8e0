"""Snapshots are there whole or not at all; a damaged one is passed over, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import StateError
from stream.adapters import snapshots as module
from stream.adapters.snapshots import KEPT, Snapshots
from tests.oracles.facts import a_stream, as_records
from tests.oracles.world import World

ARRAYS = {
    "empty": np.zeros((3, 0), np.int64),
    "times": np.array([-(2**62), 5], np.int64),
    "values/nan": np.array([[np.nan, 1.5], [-0.0, np.inf]]),
    "strided": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],
    "flags": np.array([True, False]),
}


@pytest.fixture
def store(tmp_path):
    return Snapshots(tmp_path)


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
        patch.setattr(module.os, "fsync", gone)
        with pytest.raises(KeyboardInterrupt):
            store.write(2, ARRAYS)
    assert store.newest()[0] == 1
    assert list(tmp_path.glob("*.aside"))
    assert Snapshots(tmp_path).newest()[0] == 1
    assert not list(tmp_path.glob("*.aside")), "what a crash left is removed at the next start"


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
    replayed = {name: array.tobytes() for name, array in driver.engine.arrays().items()}
    check_equivalent(replayed, state)
    for path in paths:
        path.write_bytes(b"rot")
    with pytest.raises(StateError, match="every snapshot"):
        world.start()
    for path in paths:
        path.unlink()
    driver, log = world.start()
    log.close()
    check_equivalent({n: a.tobytes() for n, a in driver.engine.arrays().items()}, state)
    assert world.outputs() == outputs
    assert world.offline_rows() == rows


def check_equivalent(found, wanted):
    """The same but for room that house-keeping gave back at a snapshot."""
    assert found.keys() == wanted.keys()
    for name in found:
        if "/ids." in name or name == "engine" or "ledger/" in name or "profiles" in name:
            assert found[name] == wanted[name], name
