"""Compare the throughput of two checkouts of this project, measured in turns.

    python -m benchmarks --beside CHECKOUT                     five pairs of turns
    python -m benchmarks --beside CHECKOUT --at-least 0.97     exit code 1 below that ratio

`before` is CHECKOUT, `after` is the checkout that this program lies in. Each turn runs the
canonical throughput workload of one of them in a process of its own, in the order before, after,
after, before, so that a machine that slows down favours neither. A pair of turns that isn't counted
comes first, so that all kernels are compiled. Load from other programs changes from minute to
minute and disturbs both turns of a pair alike, so the rates of a pair are divided by each other,
and the median of these ratios is the result.

The ratio is `after / before` of events a second and core, that is, of CPU time; above 1, `after` is
faster. The ratio of events a second on the clock is shown beside it. `all` is the geometric mean of
all batch sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from benchmarks.checkouts import Checkout
from benchmarks.command import say
from benchmarks.machine import Machine, cpu_of_others, machine
from claimtrace.errors import StateError

TURNS: Final = 5
LEAST_TURNS: Final = 3
WARM: Final = 100_000
EVENTS_EACH: Final = 60_000
"""Smaller than the defaults of `benchmarks.throughput`: a turn takes 15 to 30 seconds. The warm-up
includes two appends to the offline store, so the first one has ended when its rows are read."""

ALL: Final = "all"

Figures = dict[str, Any]
"""The figures of `benchmarks.throughput`."""


class Pair(NamedTuple):
    """The figures of two turns, one after the other."""

    before: Figures
    after: Figures


class Spread(NamedTuple):
    """The smallest, the middle and the largest ratio of all pairs.

    >>> Spread.of([1.25, 0.5, 1.0])
    Spread(least=0.5, middle=1.0, most=1.25)
    """

    least: float
    middle: float
    most: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Spread:
        """Of at least one ratio."""
        return cls(min(ratios), median(ratios), max(ratios))


def compare(other: Path, here: Path, turns: int, events_each: int, file: Path) -> Figures:
    """Measure two checkouts in turns; the figures are written to a file after each pair.

    Args:
        other: the folder of the checkout that is `before`.
        here: the folder of the checkout that is `after`.
        turns: pairs of turns that are counted.
        events_each: events of each batch size in a turn; 0: the default of each checkout.
        file: where the figures go, as JSON.

    Raises:
        UsageError: a folder is no checkout of this project.
        StateError: a run failed, or the checkouts measured different work.
    """
    sides = Checkout.open("before", other), Checkout.open("after", here)
    sizes = common_sizes(sides, events_each)
    found: Figures = {
        "machine": machine(),
        "commits": {side.name: side.commit() for side in sides},
        "sizes": sizes,
        "pairs": [],
    }
    _write(found, file)  # figures of an earlier comparison are gone from here on
    began, pairs = Machine.now(), []
    for pair in measured(sides, turns, sizes):
        pairs.append(pair)
        found["pairs"] = [each._asdict() for each in pairs]
        found["ratios"] = {name: Spread.of(each)._asdict() for name, each in ratios(pairs)}
        found["own_spread"] = own_spread(pairs)
        found["cores_of_others"] = round(cpu_of_others(began, Machine.now()), 2)
        _write(found, file)
    return found


def _write(found: Figures, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")


def common_sizes(sides: Sequence[Checkout], events_each: int) -> dict[str, int]:
    """The sizes of a turn; none, for the default ones, where a checkout can't be told any."""
    wanted = {"--warm": WARM, "--events-each": events_each} if events_each else {}
    for side in sides:
        if not side.options.issuperset(wanted):
            say(f"{side.name} takes no sizes: both run at their default sizes")
            return {}
    return wanted


def measured(
    sides: tuple[Checkout, Checkout], turns: int, sizes: Mapping[str, int]
) -> Iterator[Pair]:
    """Each pair of turns that counts, after one that doesn't; each checkout has its own model."""
    with TemporaryDirectory() as folder:
        models: dict[str, Path | None] = {}
        for side in sides:
            models[side.name] = Path(folder, side.name) if side.trains else None
            if side.trains:
                say(f"{side.name}: training the canonical model ...")
                side.train(Path(folder, side.name))
        for turn in range(turns + 1):
            label = f"turn {turn} of {turns}" if turn else "warm-up turn"
            figures = {}
            # every other turn the other way round: a machine that slows down favours neither
            for side in reversed(sides) if turn % 2 else sides:
                say(f"{label}: {side.name} ...")
                figures[side.name] = side.measure(models[side.name], sizes)
                say(f"{label}: {side.name} {in_short(figures[side.name])}")
            pair = Pair(*(figures[side.name] for side in sides))
            check_same_work(pair)
            if turn:
                yield pair


def check_same_work(pair: Pair) -> None:
    """Refuse figures of different workloads.

    Raises:
        StateError: number of policies, batch sizes, or numbers of events differ.
    """
    before, after = (
        [figures["policies"], *((rate["batch"], rate["events"]) for rate in figures["rates"])]
        for figures in pair
    )
    if before != after:
        raise StateError(
            f"the checkouts measure different work: {before} before, {after} after",
            hint="compare two commits whose benchmarks have the same workload",
        )


def ratios(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[float]]]:
    """Batch size, then `all` -> `after / before` of events a second and core, of each pair.

    >>> def turn(us): return {"rates": [{"batch": 64, "cpu_us_per_event": us}]}
    >>> dict(ratios([Pair(turn(30.0), turn(20.0))]))
    {'64': [1.5], 'all': [1.5]}
    """
    columns = []
    for at, rate in enumerate(pairs[0].before["rates"]):
        columns.append([_cost(pair.before, at) / _cost(pair.after, at) for pair in pairs])
        yield f"{rate['batch']}", columns[-1]
    yield ALL, [math.prod(each) ** (1 / len(each)) for each in zip(*columns, strict=True)]


def own_spread(pairs: Sequence[Pair]) -> float:
    """The dearest turn of a checkout over its cheapest one, of the checkout that varied more.

    Both turns run the same code, so the difference comes from other load on the machine.

    >>> def turn(us): return {"rates": [{"batch": 64, "cpu_us_per_event": us}]}
    >>> own_spread([Pair(turn(30.0), turn(20.0)), Pair(turn(33.0), turn(30.0))])
    1.5
    """
    costs = [
        [math.prod(_cost(side, at) for at in range(len(side["rates"]))) for side in turns]
        for turns in zip(*pairs, strict=True)
    ]
    batches = len(pairs[0].before["rates"])
    return float(max((max(each) / min(each)) ** (1 / batches) for each in costs))


def _cost(figures: Figures, at: int) -> float:
    return float(figures["rates"][at]["cpu_us_per_event"])


def in_short(figures: Figures) -> str:
    """What one turn measured, on one line."""
    costs = ", ".join(f"{rate['cpu_us_per_event']:.1f}" for rate in figures["rates"])
    batches = ", ".join(f"{rate['batch']}" for rate in figures["rates"])
    return f"took {costs} CPU us an event at batches of {batches}"


def table(found: Figures) -> str:
    """All turns and the ratios, for a person."""
    commits = found["commits"]
    lines = [f"before: {commits['before']}, after: {commits['after']}", "", *_turn_lines(found)]
    lines += ["", "after / before, events a second and core", "batch   min   median     max"]
    for name, each in found["ratios"].items():
        lines.append(f"{name:>5} {each['least']:5.3f} {each['middle']:8.3f} {each['most']:7.3f}")
    noise = f"turns of the same checkout differ by up to {found['own_spread'] - 1:.0%}"
    lines += ["", f"{noise}; other programs took {found['cores_of_others']:.1f} cores"]
    return "\n".join(lines)


def _turn_lines(found: Figures) -> Iterator[str]:
    yield "               CPU us an event            events/s       after / before"
    yield "batch  turn    before     after    before     after     by CPU  by clock"
    pairs = [Pair(**each) for each in found["pairs"]]
    for at in range(len(pairs[0].before["rates"])):
        for turn, pair in enumerate(pairs, 1):
            old, new = pair.before["rates"][at], pair.after["rates"][at]
            yield (
                f"{old['batch']:5} {turn:5}"
                f" {old['cpu_us_per_event']:9.1f} {new['cpu_us_per_event']:9.1f}"
                f" {old['events_per_s']:9,.0f} {new['events_per_s']:9,.0f}"
                f" {old['cpu_us_per_event'] / new['cpu_us_per_event']:10.3f}"
                f" {new['events_per_s'] / old['events_per_s']:9.3f}"
            )
