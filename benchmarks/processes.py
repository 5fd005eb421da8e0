"""Other programs looked at from outside: CPU of all their threads, memory, and how far they are."""

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
    """How far a program was at a moment."""

    at_s: float
    cpu_s: float
    broker_s: float
    done: int


class Watched(NamedTuple):
    """A program that runs, and the broker that it works on."""

    name: str
    running: subprocess.Popen[bytes]
    errors: Path
    broker: int = 0

    def cpu_s(self) -> float:
        """CPU seconds so far, in all threads."""
        return cpu_of(self.running.pid)

    def last_words(self) -> str:
        """The end of its errors."""
        words = " ".join(self.errors.read_text(errors="replace").split())
        return words[-300:] or "it said nothing"


class Stretch(NamedTuple):
    """What a program did between two looks."""

    done: int
    wall_s: float
    cpu_s: float
    broker_s: float


def stretch(
    watched: Watched, done: Callable[[], int], warm: int, end: int, seconds: float
) -> Stretch:
    """Wait until a program has done `end`, and tell what it took from `warm` on.

    Everybody is measured like this, from outside: no start, import, compiler or first batch is in
    it, and every thread is.

    Args:
        watched: the program.
        done: how many results it has put out so far.
        warm, end: the first look at or after `warm`, and the first at or after `end`, count.
        seconds: warm-up and stretch end after so long each, wherever the program is.

    Raises:
        StateError: the program ended, or put out nothing in time.
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
    """The first look at or after `end`, or the last one in so many seconds.

    Raises:
        StateError: the program ended; the last words of its errors are quoted.
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
    """CPU seconds that another program has used: all threads, and children that have ended.

    0 for no process, or one that is gone.
    """
    if not pid:
        return 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def peak_of(pid: int) -> float:
    """The most memory that another program has had, in MB (10**6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
