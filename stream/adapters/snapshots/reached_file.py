"""How far the effects of the plans are done, beside the journal: so that a restart needn't repeat
them.

Running plans again after a crash needs the state, but sealing decisions that the log has, and
making rows that the store has, would only give the same bytes once more. All that it leaves behind
in the state are the heads of the chains, and those are noted here after each append of rows. The
note is small and proves itself; without it, or when it is damaged, everything is done again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from claimtrace.adapters.files.atomic_files import write_file

from ...journal.reached import Reached

_PROOF_BYTES = 32


class ReachedFile:
    """The note in a file.

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
        """Replace the note; durable when it returns."""
        content = msgspec.json.encode(reached)
        write_file(self._path, hashlib.sha256(content).digest() + content)

    def read(self) -> Reached | None:
        """The note; None when there is none that is whole."""
        try:
            whole = self._path.read_bytes()
        except FileNotFoundError:
            return None
        proof, content = whole[:_PROOF_BYTES], whole[_PROOF_BYTES:]
        if hashlib.sha256(content).digest() != proof:
            return None
        return msgspec.json.decode(content, type=Reached)
