"""A child process that writes the memory of its parent to a file, as of the fork.

`fork` gives the child every page as it is at that moment, and the parent continues with a copy of
those that it changes: so the parent waits some milliseconds, however much there is to write (Redis
saves in the same way). The child may do next to nothing: other threads of the parent may hold locks
that no thread of the child will ever release. It closes inherited files, hashes, writes, syncs,
reports one byte, and exits; it calls no client library, logs nothing and runs no exit handler.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import warnings
from collections.abc import Iterator
from typing import Final, Protocol

from claimtrace.errors import StateError

_CHUNK_BYTES: Final = 1 << 20
_PATIENCE_MS: Final = 300_000
"""A child that takes longer than this counts as stuck."""
_DONE: Final = 0
_UNKNOWN: Final = 255
"""The byte that the child reports: `_DONE`, or the system's error number if it fits a byte."""


class Hashing(Protocol):
    """A hash object of `hashlib`, made by the parent: making one takes locks."""

    def update(self, part: memoryview, /) -> None:
        """Add bytes to the hash."""

    def digest(self) -> bytes:
        """Return the hash of all bytes added."""


def write_blocks(handle: int, blocks: Iterator[memoryview], hashed: Hashing) -> None:
    """Write blocks and their hash to a file, and sync it."""
    for block in blocks:
        for at in range(0, block.nbytes, _CHUNK_BYTES):
            part = block[at : at + _CHUNK_BYTES]
            hashed.update(part)
            _write_all(handle, part)
    _write_all(handle, memoryview(hashed.digest()))
    os.fsync(handle)


class ForkWriter:
    """Writes blocks to a file in a child process, from the moment this object is made.

    Args:
        handle: an open file; the parent may close it.
        blocks: read by the child alone; the parent must not use the iterator.
        hashed: a fresh hash.

    Raises:
        OSError: the system has no room for another process.
    """

    def __init__(self, handle: int, blocks: Iterator[memoryview], hashed: Hashing) -> None:
        self._result_in, result_out = os.pipe()
        parent = os.getpid()
        was_collecting = gc.isenabled()
        gc.disable()  # a collection in the child could finalise objects that belong to the parent
        try:
            with warnings.catch_warnings():
                # Python warns of a fork with threads; the module's docstring is the answer
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
            if self._pid == 0:
                _run_child(handle, result_out, parent, blocks, hashed)
        except OSError:
            os.close(self._result_in)
            raise
        finally:
            if was_collecting:
                gc.enable()
            # only the child holds the other end now, so a killed child reads as an empty result
            os.close(result_out)

    def is_done(self, *, wait: bool = False) -> bool:
        """Whether the file is written and synced.

        Raises:
            OSError: the error that ended the child's work.
            StateError: the child was killed, or is stuck.
        """
        ready = select.poll()  # `select.select` takes only file numbers below 1024
        ready.register(self._result_in, select.POLLIN)
        if not ready.poll(_PATIENCE_MS if wait else 0):
            if not wait:
                return False
            self.kill()
            raise StateError(
                f"the process that writes a snapshot wasn't done after {_PATIENCE_MS // 1000} s",
                where="snapshots", hint="look at the disk; the snapshot before it is whole",
            )  # fmt: skip
        result = os.read(self._result_in, 1)
        self._reap()
        if not result:
            raise StateError(
                "the process that was writing a snapshot was killed", where="snapshots",
                hint="look for lack of memory; the snapshot before it is whole",
            )  # fmt: skip
        if result[0] != _DONE:
            raise OSError(result[0], os.strerror(result[0]), "snapshots")
        return True

    def kill(self) -> None:
        """Kill the child, and wait until it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        os.close(self._result_in)
        with contextlib.suppress(ChildProcessError):  # other code has waited for the child
            os.waitpid(self._pid, 0)


def _run_child(
    handle: int, result_out: int, parent: int, blocks: Iterator[memoryview], hashed: Hashing
) -> None:
    """Write the file in the child, report the result and exit; never returns."""
    result = _UNKNOWN
    try:
        # a terminal's Ctrl-C goes to the child too; whether it ends is for the parent to decide
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # locks and connections must end with the parent: the child may outlive it for a moment
        _close_all_but(handle, result_out)
        write_blocks(handle, _while_child_of(parent, blocks), hashed)
        result = _DONE
    except OSError as error:
        result = min(error.errno or _UNKNOWN, _UNKNOWN)
    finally:
        try:
            os.write(result_out, bytes([result]))
        finally:  # without exit handlers: they would close what belongs to the parent
            os._exit(0)


def _while_child_of(parent: int, blocks: Iterator[memoryview]) -> Iterator[memoryview]:
    """Yield the blocks in chunks; exits when the parent has ended."""
    for block in blocks:
        for at in range(0, block.nbytes, _CHUNK_BYTES):
            if os.getppid() != parent:
                os._exit(1)
            yield block[at : at + _CHUNK_BYTES]


def _close_all_but(*kept: int) -> None:
    """Close all open files of this process except these."""
    first = 0
    for handle in sorted(kept):
        os.closerange(first, handle)
        first = handle + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _write_all(handle: int, part: memoryview) -> None:
    while part.nbytes:
        part = part[os.write(handle, part) :]
