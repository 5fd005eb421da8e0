"""The folder of the pipeline: records of runs, kept results of steps, and the locks.

FOLDER/pipeline/runs/ID/run.json    the record of a run
FOLDER/pipeline/results/KEY         the result of a step
FOLDER/pipeline/lock                held while a run runs
FOLDER/pipeline/watch/lock          held while somebody watches
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final

from claimtrace import __version__
from claimtrace.adapters.files.atomic_files import make_folder, read_file, write_file
from claimtrace.adapters.files.folder_lock import LOCK_NAME, FolderLock
from claimtrace.errors import StateError, UsageError
from claimtrace.rooms import HOME
from training.orchestration.kept import MAX_KEPT_BYTES
from training.orchestration.record import (
    MAX_RECORD_BYTES,
    RunRecord,
    check_run_name,
    decode_record,
    encode_record,
)

RECORD_FILE: Final = "run.json"
_CODE: Final = ("training", "models", "monitoring", "featurestore", "claimtrace")
_DIGEST_BYTES: Final = 32


class PipelineRuns:
    """The records and kept results of a folder. Reading makes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / "runs"
        self._results = folder / "results"

    def names(self) -> list[str]:
        """Return the ids of all runs, the one begun last first."""
        return [record.run for record in self.records()]

    def records(self) -> list[RunRecord]:
        """Return the records of all runs, the one begun last first.

        Raises:
            StateError: a record is damaged.
        """
        paths = self._runs.glob(f"*/{RECORD_FILE}") if self._runs.is_dir() else ()
        found = [self._read(path) for path in paths]
        return sorted(found, key=lambda record: (record.started_ms, record.run), reverse=True)

    def find(self, name: str) -> RunRecord | None:
        """Return the record of a run; None if there is no such run."""
        path = self._runs / check_run_name(name) / RECORD_FILE
        return self._read(path) if path.exists() else None

    def record(self, name: str) -> RunRecord:
        """Return the record of a run.

        Raises:
            UsageError: there is no such run.
        """
        found = self.find(name)
        if found is None:
            raise UsageError(f"there is no run {name}", where=str(self._runs),
                             hint="see claimtrace pipeline list")  # fmt: skip
        return found

    def save(self, record: RunRecord) -> None:
        """Replace the record of a run, whole or not at all."""
        folder = self._runs / check_run_name(record.run)
        make_folder(folder)
        write_file(folder / RECORD_FILE, encode_record(record))

    def result(self, key: str) -> bytes | None:
        """Return the result that is kept under a key; None if there is none, or it is damaged."""
        try:
            content = read_file(self._results / key, MAX_KEPT_BYTES + _DIGEST_BYTES)
        except (FileNotFoundError, StateError):
            return None
        digest, result = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return result if hashlib.sha256(result).digest() == digest else None

    def keep_result(self, key: str, content: bytes) -> None:
        """Keep a result, whole or not at all."""
        make_folder(self._results)
        write_file(self._results / key, hashlib.sha256(content).digest() + content)

    def tidy(self, keep_runs: int) -> None:
        """Remove results that none of the newest runs has, and unfinished files.

        Results that a run has read from a store are removed as soon as it is done.
        """
        kept = {
            row.key
            for record in self.records()[:keep_runs]
            for row in record.steps
            if record.state != "done" or not _is_of_one_run(row.name)
        }
        if self._results.is_dir():
            for path in self._results.iterdir():
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def lock(self) -> FolderLock:
        """Hold the pipeline: one run at a time.

        Raises:
            StateError: another process runs it.
        """
        return self._held(self.folder, "a run of the pipeline is under way",
                          "see claimtrace pipeline status, and wait for its end")  # fmt: skip

    def watch_lock(self) -> FolderLock:
        """Hold the watch: one watcher at a time.

        Raises:
            StateError: another process watches.
        """
        return self._held(self.folder / "watch", "somebody watches already",
                          "one watcher is enough; stop it before another takes over")  # fmt: skip

    @property
    def is_running(self) -> bool:
        """Whether a process runs the pipeline now; makes and changes nothing."""
        try:
            handle = os.open(self.folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def _held(self, folder: Path, what: str, hint: str) -> FolderLock:
        try:
            return FolderLock(folder)
        except StateError as error:
            raise StateError(f"{what}: {error.what}", where=str(folder), hint=hint) from error

    def _read(self, path: Path) -> RunRecord:
        return decode_record(read_file(path, MAX_RECORD_BYTES), str(path))


def code_digest() -> str:
    """Return a digest of the code that a training runs: its rooms, and the libraries that fit."""
    import numpy as np
    import xgboost

    told = hashlib.sha256(f"{__version__} {np.__version__} {xgboost.__version__}\n".encode())
    for room in _CODE:
        for path in sorted((HOME / room).rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            told.update(f"{path.relative_to(HOME).as_posix()} {content}\n".encode())
    return told.hexdigest()


def _is_of_one_run(step: str) -> bool:
    from training.orchestration.declared import DECLARED

    return step not in DECLARED or DECLARED[step].reads_outside
