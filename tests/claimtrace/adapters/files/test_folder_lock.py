"""A folder has one owner, in this process or another; the lock ends with its owner."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claimtrace.adapters.files.folder_lock import LOCK_NAME, FolderLock
from claimtrace.errors import StateError

ROOT = Path(__file__).resolve().parents[4]
OWNER = """
import sys, time
from pathlib import Path
from claimtrace.adapters.files.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_with_the_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"in use by process {owner.pid}") as caught:
            FolderLock(tmp_path)
        assert caught.value.hint
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    with FolderLock(tmp_path):  # kill -9 leaves nothing to clean up
        pass


def test_released_is_free(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "new")
    with pytest.raises(StateError, match="in use"):
        FolderLock(tmp_path / "new")
    lock.close()
    lock.close()
    assert (tmp_path / "new" / LOCK_NAME).read_text() == ""
    with FolderLock(tmp_path / "new") as again:
        assert again.folder == tmp_path / "new"
