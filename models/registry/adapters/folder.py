"""The model registry on a local folder: immutable versions beside an append-only approvals log.

    FOLDER/NAME/000001/{manifest.json, model.json, attachments}
    FOLDER/NAME/rollouts/000001.json
    FOLDER/NAME/approvals.log
    FOLDER/NAME/approvals.head    how many lines the log has, and the chain of the last

A version exists once the log holds its line `published`. Its folder is written before that line, so
a crash between the two leaves a folder that nothing refers to, and its number is never used again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from claimtrace.adapters.files.atomic_files import (
    make_folder,
    read_file,
    sync_folder,
    write_file,
    write_folder,
)
from claimtrace.decisions import ModelRef, chain_of
from claimtrace.errors import ModelError, StateError

from ...artefact import MAX_BYTES
from ...rollout.manifest import MAX_BYTES as MAX_ROLLOUT_BYTES
from ..approvals_log import ApprovalsHead, ApprovalsLog, encode_head, read_approvals, read_head
from .logged import FilesOf, LineOf
from .logged_rollouts import LoggedRollouts

LOG_FILE: Final = "approvals.log"
HEAD_FILE: Final = "approvals.head"
_MAX_HEAD_BYTES: Final = 4096
MAX_LOG_BYTES: Final = 256 * 2**20
"""Size limit of the log: half a million lines."""


class FolderRegistry(LoggedRollouts):
    """The registry of one model name on a local folder.

    Writers exclude each other by a lock on the log file, across processes too.

    Args:
        folder: the folder of all models; each has a folder of its name in it.
        name: name of the model.
        user: the user of the operating system, noted on each line; "": not noted.

    Raises:
        ModelError: the name isn't a safe folder name.
    """

    def __init__(self, folder: str | Path, name: str = "claims", user: str = "") -> None:
        super().__init__(name, str(Path(folder) / name), user)
        self.folder = Path(folder) / name
        self._log = self.folder / LOG_FILE

    def exists(self) -> bool:
        return self.folder.is_dir()

    def _publish(self, files_of: FilesOf, line_of: LineOf) -> ModelRef:
        with self._writing() as (approvals, handle):
            # Folders without a line count too: the number of an interrupted publish isn't reused.
            version = 1 + max([0, *self._numbers(), *approvals.published()])
            files, digest = files_of(version)
            line = line_of(approvals, version, digest)
            # First the folder, then the line: whoever reads the line finds the version complete.
            write_folder(self._path(version), files)
            self._write(handle, line, approvals)
        return ModelRef(self.name, version, digest)

    def _append(self, line_of: Callable[[ApprovalsLog], bytes]) -> None:
        with self._writing() as (approvals, handle):
            self._write(handle, line_of(approvals), approvals)

    def _file(self, version: int, name: str) -> bytes:
        path = self._path(version)
        try:
            return read_file(path / name, MAX_BYTES)
        except (OSError, StateError) as error:
            raise ModelError(
                f"a file of version {version} can't be read: {error}",
                where=str(path),
                hint="restore the folder from a copy, or move the alias back",
            ) from error

    def _put_rollout(self, number: int, content: bytes) -> None:
        path = self._rollout_path(number)
        make_folder(path.parent)
        write_file(path, content, 0o444)
        sync_folder(path.parent)

    def _rollout_file(self, number: int) -> bytes:
        path = self._rollout_path(number)
        try:
            return read_file(path, MAX_ROLLOUT_BYTES)
        except (OSError, StateError) as error:
            raise ModelError(f"roll-out {number} can't be read: {error}", where=str(path),
                             hint="restore the file from a copy") from error  # fmt: skip

    def _rollout_numbers(self) -> list[int]:
        paths = (self.folder / "rollouts").glob("*.json")
        return sorted(int(path.stem) for path in paths if path.stem.isdecimal())

    def _rollout_path(self, number: int) -> Path:
        return self.folder / "rollouts" / f"{number:06d}.json"

    def _where(self, version: int) -> str:
        return str(self._path(version))

    def _path(self, version: int) -> Path:
        return self.folder / f"{version:06d}"

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def recorded_head(self) -> ApprovalsHead | None:
        """Return the head of the log as kept beside it; None in a folder of an older version.

        Raises:
            StateError: the file of the head is damaged.
        """
        path = self.folder / HEAD_FILE
        try:
            return read_head(read_file(path, _MAX_HEAD_BYTES), str(path))
        except FileNotFoundError:
            return None

    def _read(self) -> ApprovalsLog:
        # the head first: an append writes it last, so a log read after it is never behind it
        head = self.recorded_head()
        try:
            content = read_file(self._log, MAX_LOG_BYTES)
        except FileNotFoundError:
            content = b""
        approvals = read_approvals(content, str(self._log))
        if head is not None:
            approvals.check_continues(head, str(self._log))
        return approvals

    def _write(self, handle: int, line: bytes, approvals: ApprovalsLog) -> None:
        """Append a line to the log, and put its chain in the file of the head.

        A crash between the two leaves an older head, which the log continues; so does a disk that
        refuses the head. The next append mends it.
        """
        _append(handle, line, approvals.whole_bytes)
        head = ApprovalsHead(len(approvals.entries) + 1, chain_of(line.rstrip(b"\n")))
        with contextlib.suppress(OSError):  # the act is done: the line is durable
            write_file(self.folder / HEAD_FILE, encode_head(head))

    @contextmanager
    def _writing(self) -> Iterator[tuple[ApprovalsLog, int]]:
        """Hold the lock of the log; yields the log as read under the lock, and its file handle.

        A last line that a crash left incomplete is cut off first.
        """
        created = not self._log.exists()
        try:
            make_folder(self.folder)
            handle = os.open(self._log, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            raise StateError(
                f"the registry can't be written: {error.strerror}", where=str(self.folder),
                hint="this may be a read-only copy, or a folder of another user",
            ) from error  # fmt: skip
        try:
            if created:
                sync_folder(self.folder)
            # The lock goes with the handle: closing it, or the death of the process, releases it.
            fcntl.flock(handle, fcntl.LOCK_EX)
            approvals = self._read()
            if os.fstat(handle).st_size > approvals.whole_bytes:
                os.ftruncate(handle, approvals.whole_bytes)
            yield approvals, handle
        finally:
            os.close(handle)


def _append(handle: int, line: bytes, at: int) -> None:
    """Append a line at offset `at` and sync it; cut it off again if the disk refuses it.

    Raises:
        OSError: the line could not be written and synced; the file is as before.
    """
    written = 0
    try:
        while written < len(line):
            written += os.pwrite(handle, line[written:], at + written)
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, at)
        raise
