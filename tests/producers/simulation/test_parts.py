"""Small parts of the simulator: draws, backlog, label curve, calendar, faults, world."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from producers.simulation.arrivals import daily_claims, draw_block
from producers.simulation.backlog import Backlog
from producers.simulation.config import SimulationConfig
from producers.simulation.dirty import KINDS, spoil
from producers.simulation.draws import choose, generator, mix
from producers.simulation.event_rows import calendar
from producers.simulation.labels import SOURCES, delay_cdf
from producers.simulation.policies import Book
from producers.simulation.scenarios import Portfolio
from producers.simulation.world import STATES, make_world

CONFIG = SimulationConfig(days=30, claims_per_day=50, policies=2000)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=40),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_the_backlog_is_a_sort(rows: list[tuple[int, int]], looks: list[int]) -> None:
    backlog = Backlog()
    for start in range(0, len(rows), 7):
        part = np.array(rows[start : start + 7], np.int64)
        backlog.add({"log_ms": part[:, 0], "number": part[:, 1]})
    taken: list[tuple[int, int]] = []
    for until_ms in [*sorted(looks), None]:
        found = backlog.take(until_ms)
        pairs = list(zip(found["log_ms"].tolist(), found["number"].tolist(), strict=True))
        assert until_ms is None or all(at < until_ms for at, _ in pairs)
        taken += pairs
    assert taken == sorted(rows)
    assert len(backlog) == 0


def test_draws_by_weight_and_purpose() -> None:
    rng = generator(1, "claims")
    shares = np.bincount(choose(rng, 20_000, (1, 0, 3)), minlength=3) / 20_000
    assert shares == pytest.approx([0.25, 0, 0.75], abs=0.02)
    streams = {
        generator(1, purpose, number).random()
        for purpose in ("claims", "labels")
        for number in range(3)
    }
    assert len(streams) == 6


def test_mix_is_stable_and_spreads() -> None:
    assert mix(np.array([1, 2]), 3).tolist() == [mix(1, 3)[0], mix(2, 3)[0]]
    hashed = mix(np.arange(10_000), 5)
    assert hashed.min() >= 0
    assert len(np.unique(hashed)) == 10_000
    assert np.bincount(hashed % 10).min() > 900


def test_the_label_curve_is_a_distribution() -> None:
    for source in (*SOURCES, None):
        values = [delay_cdf(age / 2, source) for age in range(800)]
        assert values == sorted(values)
        assert values[0] == 0
        assert values[-1] > 0.999
    assert delay_cdf(40, "settlement") == pytest.approx(0.95, abs=0.01)
    assert delay_cdf(94, "investigation") == pytest.approx(0.95, abs=0.01)


@given(st.integers(0, 4_000_000_000_000))
def test_calendar_is_the_calendar(at_ms: int) -> None:
    when = np.datetime64(at_ms, "ms").astype(object)
    found = [int(part[0]) for part in calendar(np.array([at_ms]))]
    assert found == [when.month, when.day, when.weekday(), when.hour]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_each_fault_changes_the_claim(kind: int) -> None:
    value = msgspec.json.encode(
        {"phone": "+12", "vin": "1HG", "channel": "web", "incident_type": "Theft",
         "incident_severity": "Minor", "authorities_contacted": "Police", "address": "x",
         "narrative": "it was gone", "postcode": "1", "police_report_available": "No",
         "clinic_id": None, "repair_shop_id": None, "num_witnesses": 0,
         "driver_relationship": "N/A"}
    )  # fmt: skip
    for seed in range(8):
        rng = np.random.default_rng(seed)
        spoiled = spoil(value, kind, rng)
        assert spoiled != value
        assert spoiled == spoil(value, kind, np.random.default_rng(seed))


def test_the_world_has_businesses_in_every_state() -> None:
    world = make_world(CONFIG)
    rng = generator(1, "claims")
    states = np.arange(len(STATES)).repeat(200)
    for businesses in (world.shops, world.clinics):
        assert (businesses.state[businesses.draw_nearby(rng, states)] == states).all()
    sizes = np.diff(np.concatenate(([0.0], world.shops.edges)))
    assert sizes.max() > 5 * np.median(sizes), "long-tailed"


def test_claims_come_from_policies_in_force() -> None:
    world = make_world(CONFIG)
    book = Book.of(world)
    for day in (0, 14):
        block = draw_block(CONFIG, world, book, day, day + 7)
        claims = block.claims
        start_ms = CONFIG.start_ms + day * DAY_MS
        assert (world.inception_ms[claims.policy] < start_ms).all()
        assert (world.end_ms[claims.policy] > start_ms).all()
        assert (np.diff(claims.filed_ms) >= 0).all()
        assert (block.log_ms >= claims.filed_ms).all()
        assert (block.repeated_ms > block.log_ms[block.repeated]).all()
        assert claims.vehicle_cents.min() > 0
        assert claims.injury_cents.min() >= 0
        low, high = start_ms, start_ms + 7 * DAY_MS
        assert ((claims.filed_ms >= low) & (claims.filed_ms < high)).all()


def test_expected_claims_have_the_mean_asked_for() -> None:
    mean = daily_claims(replace(CONFIG, days=364), np.arange(364)).mean()
    assert mean == pytest.approx(CONFIG.claims_per_day, rel=0.02)
    portfolio = Portfolio.of(make_world(CONFIG), CONFIG.start_ms)
    assert portfolio.is_in_force.sum() == len(portfolio.in_force)
