"""An exclusive lock on a folder: one process at a time, released when its owner ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from ...closing import Closing
from ...errors import StateError

LOCK_NAME: Final = "lock"


class FolderLock(Closing):
    """A lock held until `close`, or until the process ends, in whatever way.

    Args:
        folder: created if missing; the lock file in it holds the owner's process id.

    Raises:
        StateError: another process (or another `FolderLock` of this process) holds the folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, FolderLock(Path(folder)):
    ...     FolderLock(Path(folder))
    Traceback (most recent call last):
    ...
    claimtrace.errors.StateError: the folder is in use by process ...
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StateError(
                f"the folder is in use by process {owner}",
                where=str(folder),
                hint="stop it first, or name another folder",
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Release the folder; harmless when called again.

        The lock file stays: another process may have opened it already, and would lock a file that
        no third one could see if it were removed.
        """
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1
