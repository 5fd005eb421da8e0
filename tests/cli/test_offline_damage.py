"""A changed byte or a missing file of the offline store is found before anything uses it."""

from __future__ import annotations

from pathlib import Path

from featurestore.offline.adapters.file_digests import recorded_digest
from tests.worlds.damaged_folder import EDITION, ask, copy_of, edition_domain


def a_file(folder: Path) -> Path:
    """A file of decisions that this version wrote."""
    files = (folder / "offline" / "decisions").glob("*.parquet")
    return next(path for path in sorted(files) if recorded_digest(path.name))


def flip(folder: Path) -> None:
    """Change one bit of a number, where no reader notices it."""
    path = a_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_is_found_by_the_doctor_and_before_a_training(folder):
    flip(folder)
    for words in (("doctor", "--deep"), ("doctor",), ("train",), ("train", "--json")):
        told = ask(folder, *words)
        assert told.code == {"doctor": 1, "train": 70}[words[0]], told.words
        assert a_file(folder).name in "".join(told.words.split())
        assert "its bytes have changed" in told.words
        assert "fault of ours" not in told.words
    assert not (folder / "models" / "bikes" / "000002").exists()
    assert (
        not list(folder.parent.glob("claimtrace.log*"))
        or "StateError" in (folder.parent / "claimtrace.log").read_text()
    )


def test_a_missing_file_is_named_by_everything_that_reads_it(folder):
    a_file(folder).unlink()
    for words, code in (
        (("doctor",), 1),
        (("train",), 70),
        (("offline", "sql", "select count(*), max(score) from decisions"), 70),
        (("features", "diff"), 70),
    ):
        told = ask(folder, *words)
        assert told.code == code, told.words
        assert "missing" in told.words
        assert "fault of ours" not in told.words
        assert "\x1b" not in told.out + told.err
    told = ask(folder, "verify", "--chain", "--json")
    assert told.code == 1
    assert any("missing or damaged" in line for line in told.json["problems"])


def test_a_folder_from_before_has_no_digests_and_that_is_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with edition_domain():
        folder = copy_of(EDITION, tmp_path / "old")
        told = ask(folder, "doctor", "--deep")
        assert told.code == 0, told.words
        assert "have no recorded digest" in told.words
        flip_old = next((folder / "offline" / "labels").glob("*.parquet"))
        flip_old.unlink()
        told = ask(folder, "doctor")
        assert told.code == 1
        assert "is missing" in told.words


def test_the_doctor_misses_the_decisions_that_were_stored(folder):
    import shutil

    shutil.rmtree(folder / "offline")
    told = ask(folder, "doctor")
    assert told.code == 1
    assert "were stored, and are gone" in told.words
