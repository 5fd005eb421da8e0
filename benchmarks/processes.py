"""Measure other processes: CPU of all their threads, memory, and the number of their results."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from claimtrace.errors import StateError

LOOK_EVERY_S: Final = 0.05
START_TIMEOUT_S: Final = 240.0


class Look(NamedTuple):
    """CPU and results of a process at a moment."""

    at_s: float
    cpu_s: float
    broker_s: float
    done: int


class Watched(NamedTuple):
    """A running process, and the process id of its broker (0: none)."""

    name: str
    running: subprocess.Popen[bytes]
    errors: Path
    broker: int = 0

    def cpu_s(self) -> float:
        """CPU seconds of all threads so far."""
        return cpu_of(self.running.pid)

    def last_words(self) -> str:
        """Read the end of what the process wrote to standard error."""
        words = " ".join(self.errors.read_text(errors="replace").split())
        return words[-300:] or "it said nothing"


class Stretch(NamedTuple):
    """Results and CPU of a process between two looks."""

    done: int
    wall_s: float
    cpu_s: float
    broker_s: float


def stretch(
    watched: Watched, done: Callable[[], int], warm: int, end: int, seconds: float
) -> Stretch:
    """Measure a process from its first `warm` results until it has put out `end` results.

    All programs are measured in this way, from outside. Start, imports, compilation and the first
    batches aren't included; every thread is.

    Args:
        watched: the process.
        done: counts its results so far.
        warm, end: the stretch is from the first look with at least `warm` results to the first look
            with at least `end` results.
        seconds: the most that the warm-up, and then the stretch, may take.

    Raises:
        StateError: the process ended, or put out nothing in time.
    """
    if not wait(watched, done, 1, START_TIMEOUT_S).done:
        raise StateError(f"nothing in {START_TIMEOUT_S:.0f} s", where=watched.name)
    first = wait(watched, done, warm, seconds)
    last = wait(watched, done, end, seconds)
    if last.done <= first.done:
        raise StateError(f"{last.done:,} of {end:,} results in time", where=watched.name)
    return Stretch(
        last.done - first.done,
        last.at_s - first.at_s,
        last.cpu_s - first.cpu_s,
        last.broker_s - first.broker_s,
    )


def wait(watched: Watched, done: Callable[[], int], end: int, seconds: float) -> Look:
    """Wait for the first look with at least `end` results, at most for some seconds.

    Raises:
        StateError: the process ended; the end of its standard error is quoted.
    """
    until_s = time.monotonic() + seconds
    while True:
        is_alive = watched.running.poll() is None
        look = Look(time.monotonic(), watched.cpu_s(), cpu_of(watched.broker), done())
        if look.done >= end or look.at_s > until_s:
            return look
        if not is_alive:
            raise StateError(f"it ended after {look.done:,} results: {watched.last_words()}",
                             where=watched.name)  # fmt: skip
        time.sleep(LOOK_EVERY_S)


def cpu_of(pid: int) -> float:
    """CPU seconds of another process: all its threads, and its children that have ended.

    0 for process id 0, and for a process that has ended.
    """
    if not pid:
        return 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def tree_cpu_of(pid: int) -> float:
    """CPU seconds of another process and of all its descendants that are alive or were waited for.

    A process's own figure holds that of its children that have ended.
    """
    total, waiting = 0.0, [pid]
    while waiting:
        each = waiting.pop()
        total += cpu_of(each)
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                waiting += map(int, path.read_text().split())
            except OSError:
                continue  # the thread has ended
    return total


def peak_of(pid: int) -> float:
    """The peak memory of another process, in MB (10**6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
