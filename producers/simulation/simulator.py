"""The claims simulator: from a config to the records of a log, in order of arrival.

Time is cut into blocks of one to seven days, depending on the config alone. Each block draws its
profile changes, claims and outcomes from generators of its own; rows then wait in backlogs until
their time of arrival. So neither the size of chunks nor the place where the caller stops changes a
byte, and memory holds one block and the rows that wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from claimtrace.clock import DAY_MS

from ..sending.chunks import Chunk, Part, Truth
from .arrivals import Block, draw_block
from .backlog import Backlog, Columns
from .config import SimulationConfig
from .draws import generator
from .event_rows import EventClasses, Writers, claim_ids
from .labels import draw_labels
from .policies import Book, Profiles, changes, opening
from .scenarios import COMMANDED_RINGS, SCENARIOS
from .world import World, make_world

CHUNK_RECORDS: Final = 50_000
_BLOCK_CLAIMS: Final = 10_000
_MAX_BLOCK_DAYS: Final = 7


class Simulation:
    """One run of the simulated world.

    >>> from claimtrace.events import Event
    >>> config = SimulationConfig(days=2, claims_per_day=3, policies=100)
    >>> Simulation(config, EventClasses(Event, Event, Event))
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: Event has no field ...

    Args:
        config: the same config gives the same bytes.
        events: the domain's classes; `event_rows` lists the fields that they must have.

    Raises:
        ConfigError: an event class lacks a field.
    """

    def __init__(self, config: SimulationConfig, events: EventClasses) -> None:
        self._writers = Writers(events)
        self._topics = [each.topic for each in events]
        self._config = config
        self._world: World = make_world(config)
        self._book = Book.of(self._world)
        self._waiting = [Backlog(), Backlog(), Backlog()]  # claims, profiles, outcomes
        self._block_days = min(_MAX_BLOCK_DAYS, max(1, ceil(_BLOCK_CLAIMS / config.claims_per_day)))
        self._next_day = 0
        self._claims_count = 0
        self._profiles_count = 0
        self._drawn_until_ms = config.start_ms - DAY_MS
        self._open_portfolio()

    @property
    def topics(self) -> list[str]:
        """The topics of claims, profiles and outcomes, in this order."""
        return list(self._topics)

    def chunks(
        self, until_day: int | None = None, chunk_records: int = CHUNK_RECORDS
    ) -> Iterator[Chunk]:
        """Yield all records that arrive before `until_day`, from where the last call stopped.

        Args:
            until_day: None: the whole run. Records that would arrive after its last day are never
                yielded: the claims of the last weeks have no outcome yet, as in reality.
            chunk_records: most records of a chunk; records of one millisecond are never divided.
        """
        config = self._config
        last_day = config.days if until_day is None else min(until_day, config.days)
        end_ms = config.start_ms + last_day * DAY_MS
        while self._drawn_until_ms < end_ms:
            self._draw_next()
            yield from self._emit(min(end_ms, self._drawn_until_ms), chunk_records)
        yield from self._emit(end_ms, chunk_records)

    def _open_portfolio(self) -> None:
        """Queue the profiles of the opening portfolio."""
        config = self._config
        rng = generator(config.seed, "policies", 0)
        self._add_profiles(opening(self._world, self._book, config.start_ms, rng))
        self._drawn_until_ms = config.start_ms

    def _draw_next(self) -> None:
        """Draw the next block of days and queue its rows."""
        config, day = self._config, self._next_day
        end = next(each for each in (*config.ends, config.days) if each > day)
        to_day = min(day + self._block_days, end)
        from_ms = config.start_ms + day * DAY_MS
        to_ms = config.start_ms + to_day * DAY_MS
        rng = generator(config.seed, "policies", day + 1)
        self._add_profiles(changes(self._world, self._book, config.start_ms, from_ms, to_ms, rng))
        block = draw_block(config, self._world, self._book, day, to_day)
        if len(block.claims):
            self._add_claims(block, day)
        self._next_day, self._drawn_until_ms = to_day, to_ms

    def _add_profiles(self, profiles: Profiles) -> None:
        number = self._profiles_count + np.arange(len(profiles.policy))
        self._profiles_count += len(number)
        values = self._writers.profiles(profiles, number, self._world)
        self._waiting[1].add(
            {
                "log_ms": profiles.log_ms,
                "number": number,
                "policy": profiles.policy,
                "value": _objects(values),
            }
        )

    def _add_claims(self, block: Block, day: int) -> None:
        claims = block.claims
        number = self._claims_count + np.arange(len(claims))
        self._claims_count += len(claims)
        np.add.at(self._book.claims_since_renewal, claims.policy, 1)
        values = _objects(self._writers.claims(claims, number, self._world))
        block.spoil(values, generator(self._config.seed, "dirty", day))
        columns: Columns = {
            "log_ms": block.log_ms,
            "number": number,
            "policy": claims.policy,
            "value": values,
            "scenario": claims.scenario,
            "ring": claims.ring,
        }
        self._waiting[0].add(columns)
        repeats = {name: column[block.repeated] for name, column in columns.items()}
        repeats["log_ms"] = block.repeated_ms
        repeats["scenario"] = np.full(len(block.repeated), -1)  # not in the truth a second time
        self._waiting[0].add(repeats)
        rng = generator(self._config.seed, "labels", day)
        labels = draw_labels(claims.scenario > 0, claims.filed_ms, block.log_ms, self._config, rng)
        self._waiting[2].add(
            {
                "log_ms": labels.arrives_ms,
                "number": number[labels.row],
                "policy": claims.policy[labels.row],
                "decided_ms": labels.decided_ms,
                "outcome": labels.outcome,
                "source": labels.source,
            }
        )

    def _emit(self, until_ms: int, chunk_records: int) -> Iterator[Chunk]:
        """Yield the records that arrive before `until_ms`, cut by time into limited chunks."""
        due = [backlog.take(until_ms) for backlog in self._waiting]
        if len(due[2]["log_ms"]):  # outcomes are encoded late: fewer bytes wait for weeks
            values = self._writers.outcomes(
                due[2]["number"], due[2]["decided_ms"], due[2]["outcome"], due[2]["source"]
            )
            due[2]["value"] = _objects(values)
        times = np.sort(np.concatenate([columns["log_ms"] for columns in due]))
        start = [0, 0, 0]
        while sum(start) < len(times):
            # at least one millisecond further, even if it has more records than a chunk
            at = sum(start) + chunk_records
            cut_ms = (
                until_ms if at >= len(times) else max(int(times[at]), int(times[sum(start)]) + 1)
            )
            stop = [int(np.searchsorted(each["log_ms"], cut_ms)) for each in due]
            rows = [
                {name: column[a:b] for name, column in each.items()}
                for each, a, b in zip(due, start, stop, strict=True)
            ]
            start = stop
            yield self._chunk(rows, cut_ms)

    def _chunk(self, rows: list[Columns], until_ms: int) -> Chunk:
        """Make a chunk of rows of claims, profiles and outcomes, split by partition."""
        parts: list[Part] = []
        for topic, columns in zip(self._topics, rows, strict=True):
            if not len(columns["log_ms"]):
                continue
            partition = self._world.partition[columns["policy"]]
            for number in range(self._config.partitions):
                here = np.flatnonzero(partition == number)
                if len(here):
                    keys = self._world.key[columns["policy"][here]].tolist()
                    values = columns["value"][here].tolist()
                    parts.append(Part(topic, number, keys, values, columns["log_ms"][here]))
        count = sum(len(columns["log_ms"]) for columns in rows)
        return Chunk(parts, _truth(rows[0]), count, until_ms)


def _objects(values: list[bytes]) -> npt.NDArray[Any]:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _truth(claims: Columns) -> Truth:
    """Collect the truth about claims, without repeated deliveries (scenario -1)."""
    if not len(claims["log_ms"]):
        return Truth([], [], [], [])
    first = np.flatnonzero(claims["scenario"] >= 0)
    scenario, ring = claims["scenario"][first], claims["ring"][first]
    return Truth(
        claim_id=list(claim_ids(claims["number"][first])),
        is_fraud=(scenario > 0).tolist(),
        scenario=[SCENARIOS[code] for code in scenario.tolist()],
        ring=[_ring_name(code, number) for code, number in zip(scenario, ring, strict=True)],
    )


def _ring_name(scenario: int, ring: int) -> str | None:
    if ring < 0:
        return None
    if ring >= COMMANDED_RINGS:
        return f"commanded-{ring - COMMANDED_RINGS}"
    return f"{SCENARIOS[scenario]}-{ring}"
