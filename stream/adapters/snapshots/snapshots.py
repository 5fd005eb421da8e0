"""Snapshots: all state of the engine as of one plan, in one file with a checksum.

    magic, length of the index, index (JSON: names, types, shapes), the arrays' bytes, SHA-256

A snapshot is written under another name and synced in the background: by a thread from a copy, when
a copy buffer has room for one (`thread_writer`), else by a child process where the system can fork
(`fork_writer`). It exists once the driver publishes it, by a rename. The newest two are kept: when
the newest is damaged, the one before and a longer replay give the same state.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Final

import msgspec
import numpy as np

from claimtrace.adapters.files.atomic_files import sync_folder
from claimtrace.errors import StateError
from featurestore.state_arrays import Arrays

from .fork_writer import ForkWriter, write_blocks
from .thread_writer import CopyBuffer, ThreadWriter, room_for

MAGIC: Final = b"claimtrace-snapshot-2\n"
KEPT: Final = 2
CAN_FORK: Final = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a child process may write: Apple's libraries don't survive a fork. Where it may not, and
no copy is possible, the stream waits for the write."""
BACKGROUND_FROM_BYTES: Final = 16 << 20
"""A smaller state is written at once: that is faster than a fork and the copies of its pages."""
COPY_UP_TO_BYTES: Final = 256 << 20
"""A larger state isn't copied: that would take longer than a fork, some 20 ms, and that much
memory."""
_GROWTH_RATIO: Final = 1.25
"""The copy buffer is larger than the state by this factor, as the state may have grown by then."""
_NAME: Final = "snapshot-{:012d}.bin"


class _Entry(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: list[int]


class Snapshots:
    """The snapshots in a folder.

    Args:
        folder: the folder; the first snapshot makes it.
        in_background: whether large states are written while the stream goes on.
        background_from_bytes: smaller states are written at once.
        copy_up_to_bytes: larger states aren't written from a copy.
    """

    def __init__(
        self,
        folder: Path,
        *,
        in_background: bool = True,
        background_from_bytes: int = BACKGROUND_FROM_BYTES,
        copy_up_to_bytes: int = COPY_UP_TO_BYTES,
    ) -> None:
        self._folder, self._in_background = folder, in_background
        self._background_from, self._copy_up_to = background_from_bytes, copy_up_to_bytes
        self._path: Path | None = None
        """Where the snapshot under way will be."""
        self._writer: ForkWriter | ThreadWriter | None = None
        self._maintenance: Thread | None = None
        self._copy_buffer = CopyBuffer()

    def is_ready(self, arrays: Arrays) -> bool:
        """Whether `begin` would return soon; if not, makes room for a copy in the background."""
        size = _size(arrays)
        if not self._in_background or not self._background_from <= size <= self._copy_up_to:
            return True
        if self._maintenance is not None and self._maintenance.is_alive():
            return False
        if not self._copy_buffer.has_room(arrays):
            wanted = int(room_for(arrays) * _GROWTH_RATIO)
            self._start_maintenance(lambda: self._make_room(wanted))
            return False
        return True

    def begin(self, plan: int, arrays: Arrays) -> bool:
        """Start to write the state as of a plan; the arrays may change once this returns.

        Returns:
            Whether a child process reads the arrays meanwhile: then each of their pages that is
            changed is copied first.

        Raises:
            OSError: the disk is full or read-only.
        """
        assert self._path is None, "one at a time"
        self._end_maintenance()  # it may hold the copy buffer, and a fork must not meet a thread
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / _NAME.format(plan)
        aside = path.with_suffix(".aside")  # a crash leaves it; the next publish removes it
        aside.unlink(missing_ok=True)
        entries = [_Entry(name, a.dtype.str, list(a.shape)) for name, a in arrays.items()]
        index = msgspec.json.encode(entries)
        head = MAGIC + len(index).to_bytes(8, "little") + index
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._path = path
        try:
            self._writer = self._background_writer(handle, head, arrays)
            if self._writer is None:
                write_blocks(handle, _blocks(head, arrays), hashlib.sha256())
        except OSError:
            self.cancel()
            raise
        finally:
            os.close(handle)
        return isinstance(self._writer, ForkWriter)

    def _background_writer(
        self, handle: int, head: bytes, arrays: Arrays
    ) -> ForkWriter | ThreadWriter | None:
        """Start a background writer; None when the caller must write at once."""
        if not self._in_background or _size(arrays) < self._background_from:
            return None
        if self._copy_buffer.has_room(arrays):
            return ThreadWriter(handle, head, arrays, self._copy_buffer, hashlib.sha256())
        if not CAN_FORK:
            return None
        try:
            return ForkWriter(handle, _blocks(head, arrays), hashlib.sha256())
        except OSError:  # the system has no room for another process: then the stream waits
            return None

    def is_written(self, *, wait: bool = False) -> bool:
        """Whether the snapshot under way is written and synced.

        Raises:
            OSError: the disk is full or broken; the snapshot is cancelled.
            StateError: the writer was killed or is stuck; the snapshot is cancelled.
        """
        assert self._path is not None, "no snapshot is under way"
        if self._writer is None:
            return True
        try:
            if not self._writer.is_done(wait=wait):
                return False
        except (OSError, StateError):
            self._writer = None
            self.cancel()
            raise
        self._writer = None
        return True

    def publish(self) -> Path:
        """Make the written snapshot the newest one, and drop all but the newest two."""
        path = self._path
        assert path is not None, "no snapshot is under way"
        assert self._writer is None, "the snapshot isn't written yet"
        # the file was synced before; the rename makes it visible whole, and the folder's sync makes
        # the rename durable before an older snapshot is removed
        path.with_suffix(".aside").rename(path)
        sync_folder(self._folder)
        self._path = None
        old = [*self._paths()[:-KEPT], *self._folder.glob("*.aside")]
        self._start_maintenance(lambda: _drop(old))
        return path

    def _start_maintenance(self, work: Callable[[], object]) -> None:
        self._end_maintenance()
        self._maintenance = Thread(target=work)
        self._maintenance.start()

    def _make_room(self, size: int) -> None:
        try:
            self._copy_buffer.make_room(size)
        except MemoryError:
            self._copy_up_to = 0  # no copy from now on: a child process writes

    def cancel(self) -> None:
        """Drop an unfinished snapshot; returns when no background work is left."""
        self._end_maintenance()
        if self._writer is not None:
            self._writer.kill()
            self._writer = None
        if self._path is not None:
            self._path.with_suffix(".aside").unlink(missing_ok=True)
            self._path = None

    def write(self, plan: int, arrays: Arrays) -> Path:
        """Write and publish a snapshot, and wait for all of it."""
        self.begin(plan, arrays)
        self.is_written(wait=True)
        path = self.publish()
        self._end_maintenance()
        return path

    def newest(self, fits: Callable[[Arrays], bool] = lambda _: True) -> tuple[int, Arrays] | None:
        """Return plan and arrays of the newest snapshot that is whole and fits; None if none does.

        The arrays are read-only views of the file.

        Raises:
            StateError: there are snapshots, but all are damaged.
        """
        paths = self._paths()
        whole = 0
        for path in reversed(paths):
            arrays = _read(path)
            if arrays is None:
                continue
            whole += 1
            if fits(arrays):
                return _plan_of(path), arrays
        if paths and not whole:
            raise StateError(
                "every snapshot is damaged",
                where=str(self._folder),
                hint="remove them (if another version didn't write them): the state is rebuilt "
                "from the journal, which takes longer",
            )
        return None

    def whole(self) -> Iterator[tuple[int, Arrays]]:
        """Yield plan and arrays of each snapshot that is whole, the oldest first."""
        for path in self._paths():
            arrays = _read(path)
            if arrays is not None:
                yield _plan_of(path), arrays

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("snapshot-*.bin"))

    def _end_maintenance(self) -> None:
        """Wait for the maintenance thread."""
        if self._maintenance is not None:
            self._maintenance.join()
            self._maintenance = None


def newest_plan(folder: Path) -> int:
    """Return the plan of the newest snapshot by its name, without reading it; 0 for none."""
    return max(map(_plan_of, folder.glob("snapshot-*.bin")), default=0)


def _plan_of(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _drop(paths: list[Path]) -> None:
    """Remove files; slow for large ones, so it runs in the background."""
    for path in paths:
        path.unlink(missing_ok=True)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _blocks(head: bytes, arrays: Arrays) -> Iterator[memoryview]:
    """Yield the bytes of a snapshot; arrays in row order aren't copied, others row by row."""
    yield memoryview(head)
    for array in arrays.values():
        rows = [array] if array.flags.c_contiguous or array.ndim < 2 else list(array)
        for row in rows:
            if row.nbytes:
                yield np.ascontiguousarray(row).data.cast("B")


def _read(path: Path) -> Arrays | None:
    """Return the arrays of a file, as views of its pages; None when it is damaged."""
    try:
        with path.open("rb") as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (ValueError, FileNotFoundError):  # empty, or a worker has dropped it just now
        return None
    content = memoryview(whole)
    body, checksum = content[:-32], content[-32:]
    if bytes(body[: len(MAGIC)]) != MAGIC or hashlib.sha256(body).digest() != checksum:
        return None
    at = len(MAGIC)
    size = int.from_bytes(body[at : at + 8], "little")
    at += 8
    entries = msgspec.json.decode(body[at : at + size], type=list[_Entry])
    at += size
    arrays: Arrays = {}
    for entry in entries:
        dtype = np.dtype(entry.dtype)
        count = int(np.prod(entry.shape, dtype=np.int64))
        arrays[entry.name] = np.frombuffer(body, dtype, count, at).reshape(entry.shape)
        at += count * dtype.itemsize
    return arrays
