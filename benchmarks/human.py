"""Measure the latency of decisions at human loads: 10, 100 and 1,000 claims a second.

    python -m benchmarks.human                     a table
    python -m benchmarks.human --settings local    the embedded log only
    python -m benchmarks.human --json              the same for a program

As `benchmarks.latency`, without any step at full load: a worker that has decided on some claims
gets single ones at their planned moments. The latency of a claim is from its planned moment until
its decision is acknowledged.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.command import command, say
from benchmarks.latency import LIMIT_S, SETTINGS, Bench, arrivals, load
from benchmarks.processes import wait
from benchmarks.worker import make_champion_current
from claimtrace.errors import StateError

CLAIMS_PER_S: Final = (10, 100, 1_000)
"""The loads, lowest first."""


def measure(bench: Bench, warm: int, seconds: float) -> dict[str, Any]:
    """Measure each load, after a worker has decided on the claims of `warm` events."""
    say(f"  {warm:,} events first ...")
    bench.injector.make(warm)
    bench.injector.send()
    ratio = warm / bench.injector.claims  # events a claim
    wait(bench.worker, bench.outputs.count, bench.injector.claims, LIMIT_S)
    if len(arrivals(bench)) < bench.injector.claims:
        raise StateError(f"not all is decided after {LIMIT_S:.0f} s", where="worker")
    return {
        "loads": [
            {"claims_per_s": rate} | load(bench, f"{rate:,} claims a second", rate * ratio, seconds)
            for rate in CLAIMS_PER_S
        ]
    }


def run(
    models: Path, *, policies: int, warm: int, seconds: float, settings: list[str]
) -> dict[str, Any]:
    """Measure the chosen settings, one after the other."""
    make_champion_current(models)
    found: dict[str, Any] = {"policies": policies}
    most = int(warm + 2 * seconds * sum(CLAIMS_PER_S) + 10_000)
    for name in settings:
        say(f"{name} ...")
        with TemporaryDirectory() as folder, ExitStack() as opened:
            bench = opened.enter_context(SETTINGS[name](Path(folder), models, policies, most))
            found[name] = measure(bench, warm, seconds)
    return found


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print("log     claims/s   counted   p50 ms   p99 ms   p99.9 ms   max ms   late ms")
    for name in SETTINGS:
        for each in found[name]["loads"] if name in found else ():
            print(f"{name:6s} {each['claims_per_s']:9,} {each['claims']:9,} {each['p50_ms']:8.1f}"
                  f" {each['p99_ms']:8.1f} {each['p999_ms']:10.1f} {each['max_ms']:8.1f}"
                  f" {each['injector_late_p99_ms']:9.1f}")  # fmt: skip


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(20_000, "policies, each with one claim a year"),
        warm=(20_000, "events before the first load"),
        seconds=(60.0, "seconds of each load"),
        settings=(list(SETTINGS), "logs to measure"),
    )  # fmt: skip
