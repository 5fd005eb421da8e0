"""The work on jobs: one at a time, each by a process of its own, beside everything that is served.

A process has its own memory and its own interpreter lock, so that a batch slows no look; it is the
command `claimtrace score FILE --out F`, which goes on by line where it was stopped. What a job is
answered with stands in the file that this process wrote, whole when it ended well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError

from ...batches.job import Job, counted
from .job_store import JobStore

_POLL_S: Final = 0.2
_PATIENCE_S: Final = 20.0
"""How long a process that was asked to end may take before it is killed."""
_NICE: Final = 10
"""Batches give way to whoever waits for an answer."""
_ERROR_CHARS: Final = 500


class JobRunner:
    """A thread that works on queued jobs.

    Args:
        store: the jobs.
        command: the program and its arguments for a job, its input and its output.
        lines_of: how many lines of an output are written so far.
        clock: for the times of jobs.
        environment: of the processes.
    """

    def __init__(
        self,
        store: JobStore,
        command: Callable[[Job, Path, Path], Sequence[str]],
        lines_of: Callable[[Path], int],
        clock: Clock,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._store, self._command, self._lines_of = store, command, lines_of
        self._clock, self._environment = clock, environment
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._cancelled: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def start(self) -> None:
        """Queue again what was running when the process before ended, and begin."""
        self._store.requeue(self._clock.now_ms())
        self._thread.start()

    def wake(self) -> None:
        """Look for jobs now: one was added."""
        self._asked.set()

    def cancel(self, job: Job) -> Job:
        """Cancel a job: one that waits at once, one that runs when its process has ended.

        Raises:
            UsageError: it is finished already.
        """
        cancelled = self._store.move(job.id, "cancelled", self._clock.now_ms())
        self._cancelled.add(job.id)
        self._asked.set()
        return cancelled

    def stop(self) -> None:
        """End; a running job is queued again, and goes on by line in the next process."""
        self._stopping.set()
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S + 5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            job = self._store.next_queued()
            if job is None:
                self._asked.wait(60)
                self._asked.clear()
                continue
            self._work_on(job)

    def _work_on(self, job: Job) -> None:
        """Run the process of one job to its end, and note how it ended."""
        store, clock = self._store, self._clock
        try:
            store.move(job.id, "running", clock.now_ms())
        except ClaimtraceError:
            return  # it was cancelled at this moment
        said = store.place(job.id) / "said"
        try:
            status = self._process(job, said)
        except OSError as error:
            store.move(job.id, "failed", clock.now_ms(), error=f"it can't start: {error.strerror}")
            return
        if job.id in self._cancelled:
            self._cancelled.discard(job.id)
            return
        if status == 0:
            output = store.output_of(job)
            found = counted((store.place(job.id) / "counts").read_bytes())
            store.move(job.id, "done", clock.now_ms(), lines=found.lines, answers=found.answers,
                       out_bytes=output.stat().st_size)  # fmt: skip
        elif self._stopping.is_set():
            store.move(job.id, "queued", clock.now_ms())
        else:
            store.move(job.id, "failed", clock.now_ms(), error=_last_words(said, status))

    def _process(self, job: Job, said: Path) -> int:
        """Run a job's process; returns its status when it has ended, by itself or asked to."""
        store = self._store
        line = list(self._command(job, store.input_of(job), store.output_of(job)))
        counts = store.place(job.id) / "counts"
        with self._alone(job) as lock, said.open("wb") as errors, counts.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603  # the program itself, names of its own making
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                start_new_session=True, pass_fds=[lock],
                env=dict(self._environment or os.environ),
            )  # fmt: skip
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
            return self._wait(job, process)

    def _wait(self, job: Job, process: subprocess.Popen[bytes]) -> int:
        store, clock = self._store, self._clock
        asked_s: float | None = None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_S)
            store.progress(job.id, self._lines_of(store.output_of(job)))
            if asked_s is None:
                if self._stopping.is_set() or job.id in self._cancelled:
                    process.terminate()
                    asked_s = clock.monotonic_s()
            elif clock.monotonic_s() - asked_s > _PATIENCE_S:
                process.kill()

    @contextlib.contextmanager
    def _alone(self, job: Job) -> Iterator[int]:
        """Hold the lock of a job's files; the process that works on it inherits the lock.

        Where a server was killed, the process of its job works on: it is waited for.
        """
        path = self._store.place(job.id) / "lock"
        with path.open("ab") as file:
            while not self._stopping.is_set():
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                self._clock.sleep(_POLL_S)
            yield file.fileno()


def _last_words(said: Path, status: int) -> str:
    """Return the last line that a process said of its error, of printable characters only."""
    text = said.read_bytes()[-8_192:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with status {status}, and said nothing"
    return "".join(c for c in last if c.isprintable())[:_ERROR_CHARS]
