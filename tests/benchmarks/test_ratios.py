"""The engine's cost against a yardstick in the same run: ratios, never times.

The yardstick is the standard library's parser on the same bytes. Batches of both alternate, and the
middle of their ratios counts, so that a neighbour on the machine disturbs both alike.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import pytest

from benchmarks.canonical import as_records, events
from benchmarks.champion import make_champion, open_line
from claimtrace.events import Record
from stream.adapters.process.garbage import rare_collections
from stream.journal.plan import in_plan_order, plan_of

BATCH, WARM, MEASURED = 500, 12, 16
BAR = 6.5
"""Decode to sealed decision, against `json.loads`: 4.0 with neighbours, up to a quarter more beside
other tests, which take more from our caches than from the parser's."""


@pytest.mark.slow
def test_the_engine_costs_no_more_than_a_few_times_a_parse(tmp_path: Path) -> None:
    scorer = make_champion(tmp_path / "models")
    line = open_line(tmp_path, 5_000, scorer)
    engine = line.driver().engine
    records = iter(as_records(list(events(5_000, (WARM + MEASURED) * BATCH)), {}))
    ratios = []
    with rare_collections():
        while batch := list(islice(records, BATCH)):
            ours_s = seconds_of_engine(engine, line.champion, batch)
            yardstick_s = seconds_of_parser(batch)
            ratios.append(ours_s / yardstick_s)
    line.close()
    found = median(ratios[WARM:])
    print(f"engine against json.loads: {found:.2f}")
    assert found < BAR


def seconds_of_engine(engine: Any, champion: object, batch: list[Record]) -> float:
    """CPU of one step."""
    ordered = in_plan_order(batch, engine.tie_order)
    plan = plan_of(engine.plan + 1, ordered, champion, ordered[-1].log_time_ms, [])
    began_s = process_time()
    engine.step(plan, ordered)
    return process_time() - began_s


def seconds_of_parser(batch: list[Record]) -> float:
    """CPU of the standard library's parser on the same values."""
    began_s = process_time()
    for record in batch:
        json.loads(record.value or b"null")
    return process_time() - began_s
