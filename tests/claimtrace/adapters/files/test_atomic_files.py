from __future__ import annotations

from pathlib import Path

import pytest

from claimtrace.adapters.files import atomic_files
from claimtrace.adapters.files.atomic_files import (
    make_folder,
    read_file,
    remove_aside,
    write_file,
    write_folder,
)
from claimtrace.errors import StateError


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in (b"one", b"", b"x" * 100_000):
        write_file(path, content)
        assert read_file(path, 100_000) == content
    assert [left.name for left in tmp_path.iterdir()] == ["state"]


def test_when_the_disk_fails_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    write_file(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files.os, name, full)
            with pytest.raises(OSError, match="No space"):
                write_file(path, b"new")
        assert path.read_bytes() == b"old"
        assert [left.name for left in tmp_path.iterdir()] == ["state"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = atomic_files.os.write
    monkeypatch.setattr(atomic_files.os, "write", lambda handle, view: real(handle, view[:3]))
    write_file(tmp_path / "state", b"0123456789")
    assert (tmp_path / "state").read_bytes() == b"0123456789"


def test_what_a_crash_left_aside_does_not_hinder(tmp_path: Path) -> None:
    (tmp_path / ".aside-state").write_bytes(b"half")
    (tmp_path / ".aside-folder").mkdir()
    write_file(tmp_path / "state", b"whole")
    write_folder(tmp_path / "folder", {"a": b"1", "b": b"2"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "state"]
    (tmp_path / ".aside-other").write_bytes(b"half")
    remove_aside(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "state"]


def test_a_folder_is_written_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "v", {"a": b"1"})
    with pytest.raises(StateError, match="there already"):
        write_folder(tmp_path / "v", {"a": b"2"})
    assert (tmp_path / "v" / "a").read_bytes() == b"1"


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(StateError, match="larger than 4 bytes"):
        read_file(tmp_path / "a", 4)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "b", 4)


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
