"""Audits work on a read-only copy of a folder, and change nothing on one that can be written."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.compat import editions
from tests.worlds.damaged_folder import EDITION, ask, contents

CLAIM = {"claim_id": "what-if", "filed_at": "2025-08-10T00:00:00Z", "contract_id": "c-1",
         "total_cents": 5}  # fmt: skip
READS = (
    ("verify", "--json"),
    ("verify", "--chain"),
    ("seal",),
    ("features", "diff"),
    ("offline", "tables"),
    ("offline", "sql", "select count(*) from decisions"),
    ("models",),
    ("models", "check"),
    ("models", "history"),
    ("doctor",),
    ("score", "claim.json"),
)


@pytest.fixture
def folder(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, with a claim to score beside it."""
    (tmp_path / "claim.json").write_text(json.dumps(CLAIM))
    return folder


def read_only(folder: Path) -> Sequence[str]:
    """A launcher that sees the folder read-only, through a mount of its own."""
    mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    launcher = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    try:
        subprocess.run([*launcher, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount")
    return launcher


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "a log", "a log and its index"])
def test_every_audit_works_on_a_read_only_copy(folder, tmp_path, left):
    """Also where a crash left SQLite's write-ahead log, with a topic that is only there."""
    if left != "nothing":
        leave_write_ahead_log(folder, with_index=left.endswith("index"))
    before = contents(folder)
    commands = [["--folder", str(folder), *words] for words in READS]
    answers = editions.ask(EDITION, tmp_path, commands, read_only(folder))
    for words, answer in zip(READS, answers, strict=True):
        assert answer.code == 0, (words, answer.out, answer.err)
        assert "fault of ours" not in answer.err
    doctor = answers[READS.index(("doctor",))].out
    assert ("only.here" in doctor) == (left != "nothing")
    assert contents(folder) == before


def leave_write_ahead_log(folder: Path, *, with_index: bool) -> None:
    """Leave the files of a process that died after a commit."""
    at_work = folder.with_name("at-work")
    folder.rename(at_work)
    writer = sqlite3.connect(at_work / "log.db", isolation_level=None)
    writer.execute("insert into topics values ('only.here', 99, 1)")
    shutil.copytree(at_work, folder)
    writer.close()
    assert (folder / "log.db-wal").stat().st_size
    if not with_index:
        (folder / "log.db-shm").unlink()


def test_an_audit_changes_no_file(folder):
    before = contents(folder)
    for words in READS:
        told = ask(folder, *words)
        assert told.code == 0, told.words
        assert contents(folder) == before, words


def test_what_writes_says_that_it_cannot(folder, tmp_path):
    commands = [["--folder", str(folder), "models", "promote", "1", "--reason", "r"]]
    (answer,) = editions.ask(EDITION, tmp_path, commands, read_only(folder))
    assert answer.code == 70
    assert "the registry can't be written" in answer.err
    assert "fault of ours" not in answer.err
