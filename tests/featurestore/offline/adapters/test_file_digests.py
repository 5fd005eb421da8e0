"""Each file's digest is kept with its commit: a changed byte or a missing file is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import StateError
from claimtrace.ids import digest
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.adapters.file_digests import FilesFound, recorded_digest
from featurestore.offline.tables import rows_of

APPENDS = 5


def label(number: int) -> dict:
    return {
        "claim_id": f"c-{number}", "event_id": f"a-{number}", "outcome": "fraud",
        "is_fraud": True, "decided_at_ms": number, "known_time_ms": number, "log_time_ms": number,
        "source": None, "topic": "t", "partition": 0, "position": number,
    }  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> OfflineStore:
    made = OfflineStore(tmp_path / "offline")
    for version in range(APPENDS):
        rows = rows_of("labels", [label(version * 10 + i) for i in range(10)])
        made.append("labels", rows, writer="w", version=version)
    return made


def files_of(store: OfflineStore) -> list[Path]:
    return sorted(Path(store._path("labels")).glob("*.parquet"))


def test_a_files_name_has_the_digest_of_its_bytes(store: OfflineStore) -> None:
    assert len(files_of(store)) == APPENDS
    for path in files_of(store):
        assert recorded_digest(path.name) == digest(path.read_bytes())
    assert store.check_files("labels") == FilesFound(APPENDS, APPENDS, 0)
    assert store.check_files("labels", 2) == FilesFound(APPENDS, 2, 0)
    assert store.count("labels") == 10 * APPENDS


def test_rows_that_are_appended_twice_are_two_files(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    rows = rows_of("labels", [label(1)])
    for writer in ("a", "b"):
        store.append("labels", rows, writer=writer, version=1)
    assert store.check_files("labels") == FilesFound(2, 2, 0)
    assert store.count("labels") == 2


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_no_flipped_bit_of_any_file_escapes(tmp_path_factory, data) -> None:
    store = OfflineStore(tmp_path_factory.mktemp("flip"))
    store.append("labels", rows_of("labels", [label(1)]), writer="w", version=1)
    path = files_of(store)[0]
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(StateError, match="its bytes have changed") as told:
        store.check_files("labels")
    assert path.name in told.value.what
    assert "restore" in told.value.hint


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(("damage", "words"), [(Path.unlink, "is missing"), (cut, "bytes of")])
def test_a_file_that_is_gone_or_short_is_found_without_reading(
    store: OfflineStore, damage: Callable[[Path], None], words: str
) -> None:
    damage(files_of(store)[1])
    with pytest.raises(StateError, match=words):
        store.check_files("labels", 0)
    damage(files_of(store)[0])
    with pytest.raises(StateError, match="2 files are missing or damaged"):
        store.check_files("labels")


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_readers_of_a_damaged_file_get_an_error_of_ours(
    store: OfflineStore, damage: Callable[[Path], None]
) -> None:
    damage(files_of(store)[1])
    reads: list[Callable[[], object]] = [
        lambda: store.sql("SELECT max(event_id) FROM labels"),
        lambda: list(store.batches("labels", ["event_id"])),
    ]
    for read in reads:
        with pytest.raises(StateError, match="missing or damaged") as told:
            read()
        assert "\x1b" not in str(told.value)
        assert "\n" not in str(told.value)


def test_files_that_delta_rs_wrote_have_no_recorded_digest(store: OfflineStore) -> None:
    store.compact("labels")
    assert store.check_files("labels") == FilesFound(1, 0, 1)
    more = rows_of("labels", [label(99)])
    store.append("labels", more, writer="w", version=APPENDS)
    assert store.check_files("labels") == FilesFound(2, 1, 1)


def test_a_store_behind_a_url_is_checked_too(tmp_path: Path) -> None:
    store = OfflineStore(f"file://{tmp_path}/offline")
    for version in range(3):
        store.append("labels", rows_of("labels", [label(version)]), writer="w", version=version)
    assert store.check_files("labels") == FilesFound(3, 3, 0)
    path = next((tmp_path / "offline" / "labels").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-4] + b"PAR2")
    with pytest.raises(StateError, match="its bytes have changed"):
        store.check_files("labels")
    path.unlink()
    with pytest.raises(StateError, match="is missing"):
        store.check_files("labels")
