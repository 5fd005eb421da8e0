"""Snapshots: all state of the engine as of one plan, in one file that proves itself.

    magic, length of the index, index (JSON: names, types, shapes), the arrays' bytes, SHA-256

Written aside and synced beside the stream: by a thread from a copy, where a spare piece of memory
has room for one (`.copying`), else by a child where the system can fork (`.writing`). Renamed when
the stream says so, and only then a snapshot is there. The newest two stay: when the newest is
damaged, the one before it and a longer replay give the same state.
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

from .fork_writer import ForkWriter, write_here
from .thread_writer import CopyBuffer, ThreadWriter, room_for

MAGIC: Final = b"claimtrace-snapshot-2\n"
KEPT: Final = 2
CAN_FORK: Final = hasattr(os, "fork") and sys.platform != "darwin"
"""Apple's libraries don't bear it; there and where there is no fork the stream waits."""
BESIDE_FROM_BYTES: Final = 16 << 20
"""A smaller state is written sooner than a child is made and its pages are copied."""
COPIED_UP_TO_BYTES: Final = 256 << 20
"""Of a larger state no copy is made: it would take longer than a child's first breath, some 20 ms,
and that much memory."""
_SPARE_RATIO: Final = 1.25
"""Spare memory, for a state that has grown by then."""
_NAME: Final = "snapshot-{:012d}.bin"


class _Entry(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: list[int]


class Snapshots:
    """The snapshots in a folder.

    Args:
        beside: whether large ones are written while the stream goes on.
        beside_from_bytes: how large.
        copied_up_to_bytes: how large a state is written from a copy.
    """

    def __init__(
        self,
        folder: Path,
        *,
        beside: bool = True,
        beside_from_bytes: int = BESIDE_FROM_BYTES,
        copied_up_to_bytes: int = COPIED_UP_TO_BYTES,
    ) -> None:
        self._folder, self._beside, self._beside_from = folder, beside, beside_from_bytes
        self._copied_up_to = copied_up_to_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._path: Path | None = None
        self._writing: ForkWriter | ThreadWriter | None = None
        self._tidying: Thread | None = None
        self._spare = CopyBuffer()

    def is_ready(self, arrays: Arrays) -> bool:
        """Whether it takes no long wait to begin; if not, sees to it beside the stream."""
        size = _size(arrays)
        if not self._beside or not self._beside_from <= size <= self._copied_up_to:
            return True
        if self._tidying is not None and self._tidying.is_alive():
            return False
        if not self._spare.has_room(arrays):
            wanted = int(room_for(arrays) * _SPARE_RATIO)
            self._tidy(lambda: self._make_room(wanted))
            return False
        return True

    def begin(self, plan: int, arrays: Arrays) -> bool:
        """Begin to write the state as of a plan; the arrays may change once this returns.

        Returns:
            Whether a child reads them meanwhile: then each page of theirs that is written to is
            copied first.

        Raises:
            OSError: the disk is full or read-only.
        """
        assert self._path is None, "one at a time"
        self._finish_tidying()
        path = self._folder / _NAME.format(plan)
        aside = path.with_suffix(".aside")
        aside.unlink(missing_ok=True)
        entries = [_Entry(name, a.dtype.str, list(a.shape)) for name, a in arrays.items()]
        index = msgspec.json.encode(entries)
        head = MAGIC + len(index).to_bytes(8, "little") + index
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._path = path
        try:
            self._writing = self._writing_beside(handle, head, arrays)
            if self._writing is None:
                write_here(handle, _blocks(head, arrays), hashlib.sha256())
        except OSError:
            self.cancel()
            raise
        finally:
            os.close(handle)
        return isinstance(self._writing, ForkWriter)

    def _writing_beside(
        self, handle: int, head: bytes, arrays: Arrays
    ) -> ForkWriter | ThreadWriter | None:
        if not self._beside or _size(arrays) < self._beside_from:
            return None
        if self._spare.has_room(arrays):
            return ThreadWriter(handle, head, arrays, self._spare, hashlib.sha256())
        if not CAN_FORK:
            return None
        try:
            return ForkWriter(handle, _blocks(head, arrays), hashlib.sha256())
        except OSError:  # no room for another process: then the stream waits
            return None

    def is_written(self, *, wait: bool = False) -> bool:
        """Whether the bytes of what was begun are on the disk.

        Raises:
            OSError: the disk is full or broken; what was begun is given up.
            StateError: the child was killed; what was begun is given up.
        """
        assert self._path is not None, "nothing was begun"
        if self._writing is None:
            return True
        try:
            if not self._writing.is_done(wait=wait):
                return False
        except (OSError, StateError):
            self._writing = None
            self.cancel()
            raise
        self._writing = None
        return True

    def publish(self) -> Path:
        """Have what was written be there, and drop all but the newest two."""
        path = self._path
        assert path is not None, "nothing was begun"
        assert self._writing is None, "it isn't written yet"
        path.with_suffix(".aside").rename(path)
        sync_folder(self._folder)
        self._path = None
        old = [*self._paths()[:-KEPT], *self._folder.glob("*.aside")]
        self._tidy(lambda: _drop(old))
        return path

    def _tidy(self, work: Callable[[], object]) -> None:
        self._finish_tidying()
        self._tidying = Thread(target=work)
        self._tidying.start()

    def _make_room(self, size: int) -> None:
        try:
            self._spare.make_room(size)
        except MemoryError:
            self._copied_up_to = 0

    def cancel(self) -> None:
        """Leave what was begun, if anything was; nothing goes on behind the caller's back then."""
        self._finish_tidying()
        if self._writing is not None:
            self._writing.kill()
            self._writing = None
        if self._path is not None:
            self._path.with_suffix(".aside").unlink(missing_ok=True)
            self._path = None

    def write(self, plan: int, arrays: Arrays) -> Path:
        """All of it, and wait."""
        self.begin(plan, arrays)
        self.is_written(wait=True)
        path = self.publish()
        self._finish_tidying()
        return path

    def newest(self, fits: Callable[[Arrays], bool] = lambda _: True) -> tuple[int, Arrays] | None:
        """The newest snapshot that is whole and fits: its plan and arrays; None when none does.

        The arrays are views of the file, not to be written to.

        Raises:
            StateError: when there are snapshots but all are damaged.
        """
        paths = self._paths()
        whole = 0
        for path in reversed(paths):
            arrays = _read(path)
            if arrays is None:
                continue
            whole += 1
            if fits(arrays):
                return int(path.stem.rpartition("-")[2]), arrays
        if paths and not whole:
            raise StateError(
                "every snapshot is damaged",
                where=str(self._folder),
                hint="remove them (if another version didn't write them): the state is rebuilt "
                "from the journal, which takes longer",
            )
        return None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("snapshot-*.bin"))

    def _finish_tidying(self) -> None:
        if self._tidying is not None:
            self._tidying.join()
            self._tidying = None


def _drop(paths: list[Path]) -> None:
    for path in paths:  # a large file takes its time to go
        path.unlink(missing_ok=True)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _blocks(head: bytes, arrays: Arrays) -> Iterator[memoryview]:
    """The bytes of a snapshot; no array is copied that lies in rows."""
    yield memoryview(head)
    for array in arrays.values():
        rows = [array] if array.flags.c_contiguous or array.ndim < 2 else list(array)
        for row in rows:
            if row.nbytes:
                yield np.ascontiguousarray(row).data.cast("B")


def _read(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # it is empty
        return None
    content = memoryview(whole)
    body, proof = content[:-32], content[-32:]
    if bytes(body[: len(MAGIC)]) != MAGIC or hashlib.sha256(body).digest() != proof:
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
