"""The answers to a file so far, in a folder beside the output, until the output is whole.

    OUTPUT.parts/job            what is answered: the input's digest, the state, the fields
    OUTPUT.parts/000001         the answers to the first lines, one a line; and so on
    OUTPUT.parts/decisions.db   decisions that were looked up on the log

A part exists whole or not at all. So whoever is killed goes on behind the last one.
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from claimtrace.adapters.files.atomic_files import write_file
from claimtrace.errors import StateError, UsageError

from ...batches.answer import Answer, read, written

_Job = TypeVar("_Job")

SUFFIX: Final = ".parts"
_JOB: Final = "job"
_NAME: Final = "{:06d}"
_DECISIONS: Final = "decisions.db"
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS decisions (claim_id TEXT PRIMARY KEY, value BLOB NOT NULL) "
    "WITHOUT ROWID"
)


def parts_folder(output: Path) -> Path:
    """Return the folder beside an output."""
    return output.with_name(output.name + SUFFIX)


def lines_answered(output: Path) -> int:
    """Return how many lines of an unfinished batch are answered; for who watches it."""
    try:
        return sum(
            each.read_bytes().count(b"\n")
            for each in parts_folder(output).iterdir()
            if each.name.isdigit()
        )
    except OSError:
        return 0


class Parts:
    """The folder of an unfinished batch; one process has it.

    Args:
        output: the file that will have the answers.

    Raises:
        UsageError: another process works on the same output.
        StateError: the folder can't be made.
    """

    def __init__(self, output: Path) -> None:
        self.folder = parts_folder(output)
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock: IO[bytes] = (self.folder / "lock").open("ab")
        except OSError as error:
            raise UsageError(f"can't write beside the output: {error.strerror}",
                             where=str(output.parent)) from error  # fmt: skip
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError("another process is writing this output", where=str(output),
                             hint="wait for it, or name another output") from None  # fmt: skip
        self._count = sum(1 for each in self.folder.iterdir() if each.name.isdigit())

    def __len__(self) -> int:
        return self._count

    def job(self, kind: type[_Job]) -> _Job | None:
        """Return what is answered here; None for a new batch.

        Raises:
            UsageError: another version has begun it.
        """
        path = self.folder / _JOB
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise UsageError(f"the batch was begun by another version: {error}", where=str(path),
                             hint=f"remove {self.folder} to begin again") from error  # fmt: skip

    def begin(self, job: object) -> None:
        """Note what is answered, durably."""
        self._write(_JOB, msgspec.json.encode(job))

    def add(self, answers: Sequence[Answer]) -> None:
        """Add the answers to the next lines, durably."""
        name = _NAME.format(self._count + 1)
        self._write(name, b"".join(written(each) + b"\n" for each in answers))
        self._count += 1

    def answers(self) -> Iterator[Answer]:
        """Yield all answers in order."""
        for number in range(1, self._count + 1):
            for line in (self.folder / _NAME.format(number)).read_bytes().splitlines():
                yield read(line)

    def decisions(self) -> FoundDecisions:
        """Open the decisions that were looked up on the log."""
        return FoundDecisions(self.folder / _DECISIONS)

    @property
    def aside(self) -> Path:
        """Where the output is written before it is whole."""
        return self.folder / "output"

    def close(self) -> None:
        """Leave the folder to the next process."""
        self._lock.close()

    def remove(self) -> None:
        """Remove the folder: the output is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _write(self, name: str, content: bytes) -> None:
        try:
            write_file(self.folder / name, content)
        except OSError as error:
            raise StateError(
                f"can't keep the answers: {error.strerror}", where=str(self.folder),
                hint="make room; the same command goes on from there",
            ) from error  # fmt: skip


class FoundDecisions:
    """Decisions by claim id, in a file: a batch may have more of them than memory."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of a process that was killed: they are looked up again
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(_SCHEMA)

    def add(self, found: Iterable[tuple[str, bytes]]) -> None:
        """Add decisions; a newer one of the same claim replaces the older one."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO decisions VALUES (?, ?)", found)
        self._db.execute("COMMIT")

    def get(self, claim_id: str) -> bytes | None:
        """Return the decision on a claim."""
        row = self._db.execute(
            "SELECT value FROM decisions WHERE claim_id = ?", (claim_id,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()
