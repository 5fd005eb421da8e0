"""The rows of jobs in an SQLite file, and their files beside it.

batches/jobs.db             a row a job: its JSON
batches/ID/input.csv.gz     as it was sent
batches/ID/output.csv       written by the process that works on it; whole when it is done
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Final

import msgspec

from claimtrace.adapters.files.sqlite_file import FileKind, named_errors, open_file
from claimtrace.errors import UsageError

from ...batches.job import FINAL, Job, State, moved

_KIND: Final = FileKind(
    "table of jobs", 0x434C4D54 + 7, 1,
    "CREATE TABLE jobs (id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, job BLOB NOT NULL) "
    "WITHOUT ROWID",
)  # fmt: skip
_ADD: Final = "INSERT INTO jobs SELECT ?, coalesce(max(number), 0) + 1, ? FROM jobs"
_ALL: Final = "SELECT job FROM jobs ORDER BY number DESC LIMIT ?"
_OLDEST: Final = "SELECT job FROM jobs ORDER BY number"
_MOST_SHOWN: Final = 1_000


class JobStore:
    """The jobs of one folder; safe to use from several threads.

    Args:
        folder: made when the first job is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "jobs.db"
        self._lock = threading.RLock()
        self._db = open_file(_KIND, self._path, create=True, durable=True, any_thread=True)

    def add(self, job: Job) -> None:
        """Store a new job, whose input is written already."""
        with self._lock, named_errors(_KIND, self._path):
            self._db.execute(_ADD, (job.id, msgspec.json.encode(job)))

    def get(self, name: str) -> Job | None:
        """Return a job by its id."""
        with self._lock, named_errors(_KIND, self._path):
            row = self._db.execute("SELECT job FROM jobs WHERE id = ?", (name,)).fetchone()
        return None if row is None else _job(row[0])

    def newest(self, most: int = 100) -> list[Job]:
        """Return the newest jobs, the newest first."""
        with self._lock, named_errors(_KIND, self._path):
            rows = self._db.execute(_ALL, (min(most, _MOST_SHOWN),)).fetchall()
        return [_job(row[0]) for row in rows]

    def next_queued(self) -> Job | None:
        """Return the oldest job that waits."""
        with self._lock, named_errors(_KIND, self._path):
            for row in self._db.execute(_OLDEST):
                job = _job(row[0])
                if job.state == "queued":
                    return job
        return None

    def move(
        self, name: str, state: State, at_ms: int, **changes: int | str | dict[str, int]
    ) -> Job:
        """Move a job to its next state, durably.

        Raises:
            UsageError: there is no such job, or it can't go there from where it is.
        """
        with self._lock:
            job = self.get(name)
            if job is None:
                raise UsageError("there is no such job", where=name)
            return self._replace(moved(job, state, at_ms, **changes))

    def progress(self, name: str, lines: int) -> None:
        """Note how many lines of a running job are answered."""
        with self._lock:
            job = self.get(name)
            if job is not None and job.state == "running" and job.lines != lines:
                self._replace(msgspec.structs.replace(job, lines=lines))

    def requeue(self, at_ms: int) -> int:
        """Queue jobs again that were running when this process' predecessor ended."""
        with self._lock, named_errors(_KIND, self._path):
            jobs = [_job(row[0]) for row in self._db.execute(_OLDEST).fetchall()]
            running = [job for job in jobs if job.state == "running"]
            for job in running:
                self._replace(moved(job, "queued", at_ms))
        return len(running)

    def delete(self, name: str) -> None:
        """Remove a finished job and its files.

        Raises:
            UsageError: it isn't finished.
        """
        with self._lock, named_errors(_KIND, self._path):
            job = self.get(name)
            if job is None:
                return
            if job.state not in FINAL:
                raise UsageError("the job isn't finished", where=name, hint="cancel it first")
            self._db.execute("DELETE FROM jobs WHERE id = ?", (name,))
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def place(self, name: str) -> Path:
        """Return the folder of a job's files."""
        return self.folder / name

    def input_of(self, job: Job) -> Path:
        """Return the path of a job's input."""
        return self.place(job.id) / f"input.{job.form}{'.gz' if job.gzip else ''}"

    def output_of(self, job: Job) -> Path:
        """Return the path of a job's output."""
        return self.place(job.id) / f"output.{job.form}"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _replace(self, job: Job) -> Job:
        with named_errors(_KIND, self._path):
            self._db.execute("UPDATE jobs SET job = ? WHERE id = ?",
                             (msgspec.json.encode(job), job.id))  # fmt: skip
        return job


def _job(row: bytes) -> Job:
    return msgspec.json.decode(row, type=Job)
