"""A child that writes the memory of its parent to a file, as it was when the child was made.

`fork` gives the child every page as it is at that moment, and the parent goes on with a copy of
those that it changes: so the parent waits some milliseconds, however much there is to write
(Redis saves in the same way). The child may do next to nothing: other threads hold locks that
nobody will let go of in it. It closes what it has open, hashes, writes, syncs, says how it went,
and is gone; it calls no client library, logs nothing and runs no handler at its end.
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
"""A child that was waited for so long is stuck."""
_DONE: Final = 0
_UNKNOWN: Final = 255
"""What the child says: `_DONE`, or the number of the system's error as far as it fits a byte."""


class Hashing(Protocol):
    """A hash of `hashlib`, made by the parent: making one takes locks."""

    def update(self, part: memoryview, /) -> None:
        """Hash this too."""

    def digest(self) -> bytes:
        """The hash of all."""


def write_here(handle: int, blocks: Iterator[memoryview], hashed: Hashing) -> None:
    """Write the blocks and their hash to a file, and sync it."""
    for block in blocks:
        for at in range(0, block.nbytes, _CHUNK_BYTES):
            part = block[at : at + _CHUNK_BYTES]
            hashed.update(part)
            _write_all(handle, part)
    _write_all(handle, memoryview(hashed.digest()))
    os.fsync(handle)


class ForkWriter:
    """The same in a child, from now on.

    Args:
        handle: an open file; the parent may close it.
        blocks: read by the child alone; nothing of them is used in the parent.
        hashed: a fresh hash.

    Raises:
        OSError: there is no room for another process.
    """

    def __init__(self, handle: int, blocks: Iterator[memoryview], hashed: Hashing) -> None:
        self._told, telling = os.pipe()
        parent = os.getpid()
        collects = gc.isenabled()
        gc.disable()  # a collection in the child could end what only the parent may end
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # says what stands above
                self._pid = os.fork()
            if self._pid == 0:
                _child(handle, telling, parent, blocks, hashed)
        except OSError:
            os.close(self._told)
            raise
        finally:
            if collects:
                gc.enable()
            os.close(telling)

    def is_done(self, *, wait: bool = False) -> bool:
        """Whether all is written and synced.

        Raises:
            OSError: what the child met.
            StateError: the child is gone and said nothing.
        """
        said_something = select.poll()  # select itself takes low numbers only
        said_something.register(self._told, select.POLLIN)
        if not said_something.poll(_PATIENCE_MS if wait else 0):
            if not wait:
                return False
            self.kill()
            raise StateError(
                f"the process that writes a snapshot wasn't done after {_PATIENCE_MS // 1000} s",
                where="snapshots", hint="look at the disk; the snapshot before it is whole",
            )  # fmt: skip
        said = os.read(self._told, 1)
        self._end()
        if not said:
            raise StateError(
                "the process that was writing a snapshot was killed", where="snapshots",
                hint="look for lack of memory; the snapshot before it is whole",
            )  # fmt: skip
        if said[0] != _DONE:
            raise OSError(said[0], os.strerror(said[0]), "snapshots")
        return True

    def kill(self) -> None:
        """End the child, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        os.close(self._told)
        with contextlib.suppress(ChildProcessError):  # somebody else has waited for it
            os.waitpid(self._pid, 0)


def _child(
    handle: int, telling: int, parent: int, blocks: Iterator[memoryview], hashed: Hashing
) -> None:
    """What the child does; doesn't return."""
    answer = _UNKNOWN
    try:
        # a terminal's Ctrl-C goes to the child too; the parent decides what becomes of it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _close_all_but(handle, telling)  # locks and connections end with the parent, not with us
        write_here(handle, _while_child_of(parent, blocks), hashed)
        answer = _DONE
    except OSError as error:
        answer = min(error.errno or _UNKNOWN, _UNKNOWN)
    finally:
        try:
            os.write(telling, bytes([answer]))
        finally:  # whatever happens: what belongs to the parent must not be ended here
            os._exit(0)


def _while_child_of(parent: int, blocks: Iterator[memoryview]) -> Iterator[memoryview]:
    """The blocks, until the parent is gone."""
    for block in blocks:
        for at in range(0, block.nbytes, _CHUNK_BYTES):
            if os.getppid() != parent:
                os._exit(1)
            yield block[at : at + _CHUNK_BYTES]


def _close_all_but(*kept: int) -> None:
    before = 0
    for handle in sorted(kept):
        os.closerange(before, handle)
        before = handle + 1
    os.closerange(before, os.sysconf("SC_OPEN_MAX"))


def _write_all(handle: int, part: memoryview) -> None:
    while part.nbytes:
        part = part[os.write(handle, part) :]
