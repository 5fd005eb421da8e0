"""Compare the throughput of two checkouts of this project, measured in turns.

    python -m benchmarks --beside CHECKOUT                     twenty turns, about two minutes
    python -m benchmarks --beside CHECKOUT --at-least 0.97     exit code 1 below that ratio

`before` is CHECKOUT, `after` is the checkout that this program lies in. Both run the canonical
workload, each in a process of its own that stays alive: the two take turns with stretches of a
tenth of a second, in the order before, after, after, before. Load from other programs, and a
processor that slows down, disturb neighbouring stretches alike, so the rates of a turn are divided
by each other, and the median of these ratios is the result.

The ratio is `after / before` of events a second and core, that is, of CPU time; above 1, `after` is
faster. `all` is the geometric mean of all batch sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

from benchmarks.checkouts import Checkout
from benchmarks.command import say
from benchmarks.machine import Machine, cpu_of_others, machine
from claimtrace.errors import StateError

TURNS: Final = 20
LEAST_TURNS: Final = 3
WARM: Final = 60_000
STRETCHES: Final = {2000: 6_000, 500: 3_000, 64: 1_280}
"""Batch size -> events of a stretch: about .15 s each."""

ALL: Final = "all"

Figures = dict[str, Any]
"""All that a comparison has found, as it is written to the file."""


class Pair(NamedTuple):
    """The rates of both checkouts in one turn, one for each batch size."""

    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


class Spread(NamedTuple):
    """The quartiles of the ratios of all turns.

    >>> Spread.of([1.25, 0.5, 1.0])
    Spread(lower=0.75, middle=1.0, upper=1.125)
    """

    lower: float
    middle: float
    upper: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Spread:
        """Compute the quartiles of at least two ratios."""
        return cls(*quantiles(ratios, n=4, method="inclusive"))


def compare(other: Path, here: Path, turns: int, file: Path) -> Figures:
    """Measure two checkouts in turns, and write the figures to a file.

    Args:
        other: the folder of the checkout that is `before`.
        here: the folder of the checkout that is `after`.
        turns: how often both measure a stretch of each batch size.
        file: where the figures go, as JSON.

    Raises:
        UsageError: a folder is no checkout of this project.
        StateError: a process failed, or the checkouts measured different work.
    """
    sides = Checkout.open("before", other), Checkout.open("after", here)
    found: Figures = {
        "machine": machine(),
        "commits": {side.name: side.commit() for side in sides},
        "pairs": [],
    }
    _write(found, file)  # figures of an earlier comparison are gone from here on
    began = Machine.now()
    pairs = list(measured(sides, turns))
    found["pairs"] = [pair._asdict() for pair in pairs]
    found["cpu_us_per_event"] = {name: list(costs) for name, *costs in medians(pairs)}
    found["ratios"] = {name: Spread.of(each)._asdict() for name, each in ratios(pairs)}
    found["cores_of_others"] = round(cpu_of_others(began, Machine.now()), 2)
    _write(found, file)
    return found


def _write(found: Figures, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")


def measured(checkouts: tuple[Checkout, Checkout], turns: int) -> Iterator[Pair]:
    """Yield the rates of each turn; one turn before them isn't counted."""
    a_turn = sum(events + batch for batch, events in STRETCHES.items())
    sizes = {"warm": WARM, "events": (turns + 1) * a_turn}
    with ExitStack() as opened:
        sides = []
        for checkout in checkouts:  # one after the other: training and compiling need the machine
            say(f"{checkout.name}: model, log and warm-up ...")
            side = opened.enter_context(checkout.started(sizes))
            sides.append((side, side.warmed()))
        if sides[0][1] != sides[1][1]:
            raise different(sides[0][1], sides[1][1])
        for turn in range(turns + 1):
            rates = {}
            # every other turn the other way round: a machine that slows down favours neither
            for side, _ in reversed(sides) if turn % 2 else sides:
                rates[side.name] = side.measure(STRETCHES)
            pair = Pair(rates["before"], rates["after"])
            check_same_work(pair)
            if turn:
                say(f"turn {turn} of {turns}: after / before {in_short(pair)}")
                yield pair


def check_same_work(pair: Pair) -> None:
    """Refuse rates of different workloads.

    Raises:
        StateError: batch sizes, or numbers of events differ.
    """
    before, after = ([(rate["batch"], rate["events"]) for rate in rates] for rates in pair)
    if before != after:
        raise different(before, after)


def different(before: object, after: object) -> StateError:
    """Make the error for checkouts whose workloads are not the same."""
    return StateError(
        f"the checkouts measure different work: {before} before, {after} after",
        hint="compare two commits whose benchmarks have the same workload",
    )


def ratios(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[float]]]:
    """Yield for each batch size, then for `all`, the ratios of events a second and core.

    >>> def side(us): return [{"batch": 64, "cpu_us_per_event": us}]
    >>> dict(ratios([Pair(side(30.0), side(20.0))]))
    {'64': [1.5], 'all': [1.5]}
    """
    columns = []
    for at, rate in enumerate(pairs[0].before):
        columns.append([_cost(pair.before, at) / _cost(pair.after, at) for pair in pairs])
        yield f"{rate['batch']}", columns[-1]
    yield ALL, [math.prod(each) ** (1 / len(each)) for each in zip(*columns, strict=True)]


def medians(pairs: Sequence[Pair]) -> Iterator[tuple[str, float, float]]:
    """Yield for each batch size the median CPU microseconds an event, before and after."""
    for at, rate in enumerate(pairs[0].before):
        before, after = (
            median(_cost(side, at) for side in sides) for sides in zip(*pairs, strict=True)
        )
        yield f"{rate['batch']}", before, after


def _cost(rates: list[dict[str, Any]], at: int) -> float:
    return float(rates[at]["cpu_us_per_event"])


def in_short(pair: Pair) -> str:
    """Return the ratios of one turn on one line."""
    found = [f"{each[0]:.3f}" for name, each in ratios([pair]) if name != ALL]
    batches = ", ".join(f"{rate['batch']}" for rate in pair.before)
    return f"{', '.join(found)} at batches of {batches}"


def table(found: Figures) -> str:
    """Return costs and ratios as a table for people."""
    commits = found["commits"]
    lines = [
        f"before: {commits['before']}, after: {commits['after']}, {len(found['pairs'])} turns", "",
        "        CPU us an event     after / before, events a second and core",
        "batch    before    after    lower quartile   median   upper quartile",
    ]  # fmt: skip
    for name, each in found["ratios"].items():
        before, after = found["cpu_us_per_event"].get(name, ("", ""))
        costs = f"{before:9.1f}{after:9.1f}" if name != ALL else " " * 18
        lines.append(
            f"{name:>5}{costs}{each['lower']:18.3f}{each['middle']:9.3f}{each['upper']:17.3f}"
        )
    lines += ["", f"other programs took {found['cores_of_others']:.1f} cores"]
    return "\n".join(lines)
