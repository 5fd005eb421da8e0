"""Describe the machine, and measure the CPU time that other programs use."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any, Final, NamedTuple

DISTURBED_CORES: Final = 0.1
"""Figures are called disturbed when other programs used more than this meanwhile."""


class Machine(NamedTuple):
    """CPU seconds at a moment: of all programs, and of this one with its ended children."""

    at_s: float
    all_s: float
    ours_s: float

    @classmethod
    def now(cls) -> Machine:
        """Read the counters; other programs are seen on Linux only."""
        ours_s = sum(sum(getrusage(who)[:2]) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
        try:
            fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return cls(time.monotonic(), ours_s, ours_s)
        user, nice, system, _, _, irq, soft, steal = map(int, fields)
        ticks = user + nice + system + irq + soft + steal
        return cls(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), ours_s)


def cpu_of_others(before: Machine, after: Machine) -> float:
    """Cores that other programs used between two moments, stolen time included; at least 0.

    >>> cpu_of_others(Machine(0.0, 100.0, 5.0), Machine(10.0, 125.0, 20.0))
    1.0
    """
    taken_s = (after.all_s - before.all_s) - (after.ours_s - before.ours_s)
    return max(0.0, taken_s / (after.at_s - before.at_s))


def machine() -> dict[str, Any]:
    """Describe processor, cores, memory, system, and versions of important packages."""
    from importlib.metadata import version

    packages = ("numpy", "numba", "msgspec", "xgboost-cpu", "confluent-kafka", "pyarrow")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
