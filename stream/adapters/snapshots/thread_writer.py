"""A thread that writes a copy of the state to a file, where there is memory for a copy.

A copy into memory whose pages are already mapped takes some 8 ms for 100 MB. A child of the process
(`fork_writer`) takes less at first, but then each page that the stream changes is copied one by
one: measured 0.35 s of CPU for the same 100 MB, in which a loaded stream falls half a second
behind. Hashing, writing and syncing release the interpreter lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Event, Thread
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import StateError
from featurestore.state_arrays import Arrays

from .fork_writer import Hashing, write_blocks

_LINE_BYTES: Final = 64
"""Copies start at multiples of a cache line."""
_STEP_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 300.0
"""A thread that takes longer than this counts as stuck."""


class _Stopped(Exception):
    """The snapshot was cancelled."""


class CopyBuffer:
    """Memory for a copy of arrays, kept from one snapshot to the next."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def has_room(self, arrays: Arrays) -> bool:
        """Whether the arrays fit."""
        return room_for(arrays) <= self._memory.size

    def make_room(self, size: int) -> None:
        """Allocate at least `size` bytes, and have the system map every page of them.

        Raises:
            MemoryError: there isn't so much memory; the buffer is empty then.
        """
        if size > self._memory.size:
            self._memory = np.empty(0, np.uint8)  # free the old memory first
            memory = np.empty(size, np.uint8)
            memory.fill(0)  # touches every page: `copy` must not wait for the system to map them
            self._memory = memory

    def copy(self, arrays: Arrays) -> list[NDArray[np.uint8]]:
        """Copy the arrays; returns the bytes of each array by rows, as views of the buffer."""
        copies, at = [], 0
        for array in arrays.values():
            end = at + array.nbytes
            part = self._memory[at:end]
            np.copyto(part.view(array.dtype).reshape(array.shape), array)
            copies.append(part)
            at = _aligned(end)
        return copies


class ThreadWriter:
    """Writes the state, as it is when this object is made, to a file in a thread.

    Args:
        handle: an open file; the caller may close it.
        head: the bytes before those of the arrays.
        arrays: may change once this object is made.
        copy_buffer: has room for the arrays; no other writer may use it meanwhile.
        hashed: a fresh hash.
    """

    def __init__(
        self, handle: int, head: bytes, arrays: Arrays, copy_buffer: CopyBuffer, hashed: Hashing
    ) -> None:
        copies = copy_buffer.copy(arrays)
        self._stop = Event()
        self._error: OSError | None = None
        own = os.dup(handle)
        self._thread = Thread(target=self._write, args=(own, head, copies, hashed), daemon=True)
        self._thread.start()

    def is_done(self, *, wait: bool = False) -> bool:
        """Whether the file is written and synced.

        Raises:
            OSError: the error that ended the thread.
            StateError: the thread is stuck.
        """
        if wait:
            self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            if not wait:
                return False
            self._stop.set()
            raise StateError(
                f"the thread that writes a snapshot wasn't done after {_PATIENCE_S:.0f} s",
                where="snapshots", hint="look at the disk; the snapshot before it is whole",
            )  # fmt: skip
        if self._error is not None:
            raise self._error
        return True

    def kill(self) -> None:
        """Stop the thread before its next piece; returns when it has ended."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    def _write(
        self, handle: int, head: bytes, copies: list[NDArray[np.uint8]], hashed: Hashing
    ) -> None:
        try:
            write_blocks(handle, self._blocks(head, copies), hashed)
        except OSError as error:
            self._error = error
        except _Stopped:
            pass
        finally:
            os.close(handle)

    def _blocks(self, head: bytes, copies: list[NDArray[np.uint8]]) -> Iterator[memoryview]:
        yield memoryview(head)
        for copy in copies:
            for at in range(0, copy.size, _STEP_BYTES):
                if self._stop.is_set():
                    raise _Stopped
                yield copy[at : at + _STEP_BYTES].data


def room_for(arrays: Arrays) -> int:
    """Return the number of bytes that a copy of arrays takes."""
    return sum(_aligned(array.nbytes) for array in arrays.values())


def _aligned(size: int) -> int:
    return -(-size // _LINE_BYTES) * _LINE_BYTES
