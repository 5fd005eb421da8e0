"""A note, beside the journal, of the last plan whose effects needn't be repeated at a restart.

A restart must apply the plans again to rebuild the state; but sealing decisions that the log has,
and making rows that the store has, would only give the same bytes once more. The only part of the
state that this skips are the heads of the chains, and those are noted here after each append of
rows. The note is small and has a checksum; without a note, or with a damaged one, everything is
done again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from claimtrace.adapters.files.atomic_files import write_file

from ...journal.reached import Reached

_CHECKSUM_BYTES = 32


class ReachedFile:
    """The note in a file: the SHA-256 of the rest, then JSON.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> note = ReachedFile(Path(folder.name) / "reached")
    >>> note.read() is None
    True
    >>> note.write(Reached(7, "d1", {0: "c0"}))
    >>> note.read()
    Reached(plan=7, plan_digest='d1', chains={0: 'c0'})
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, reached: Reached) -> None:
        """Replace the note; it is durable when this returns."""
        content = msgspec.json.encode(reached)
        write_file(self._path, hashlib.sha256(content).digest() + content)

    def read(self) -> Reached | None:
        """Return the note; None when there is none that is whole."""
        try:
            whole = self._path.read_bytes()
        except FileNotFoundError:
            return None
        checksum, content = whole[:_CHECKSUM_BYTES], whole[_CHECKSUM_BYTES:]
        if hashlib.sha256(content).digest() != checksum:
            return None
        return msgspec.json.decode(content, type=Reached)
