"""The simulator: same seed, same bytes; events of the domain; every documented share and order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from claimtrace.clock import DAY_MS
from claimtrace.errors import ConfigError
from claimtrace.ids import partition_of
from claimtrace_examples.auto_claims.events import ClaimAdjudicated, ClaimFiled, PolicyChanged
from producers.sending.chunks import Chunk
from producers.simulation.config import DirtyShares, Drift, Ring, SimulationConfig
from producers.simulation.event_rows import EventClasses
from producers.simulation.labels import delay_cdf
from producers.simulation.scenarios import SCENARIOS
from producers.simulation.simulator import Simulation

NO_FAULTS = DirtyShares(0, 0, 0, 0, 0)
EVENTS = EventClasses(ClaimFiled, PolicyChanged, ClaimAdjudicated)
SMALL = SimulationConfig(days=40, claims_per_day=30, policies=1500, partitions=3)
CLEAN = replace(SMALL, dirty=NO_FAULTS)
LARGE = SimulationConfig(days=200, claims_per_day=150, policies=20_000, dirty=NO_FAULTS)

Row = dict[str, Any]


def record_digest(chunks: Iterable[Chunk]) -> str:
    """A digest of every record of every partition with its log time, and of the truth."""
    hashes: dict[Any, Any] = defaultdict(hashlib.sha256)
    for chunk in chunks:
        for part in chunk.parts:
            columns = zip(part.keys, part.values, part.log_times_ms.tolist(), strict=True)
            for key, value, at_ms in columns:
                hashes[part.topic, part.partition].update(b"%s\n%s\n%d\n" % (key, value, at_ms))
        truth = chunk.truth
        for row in zip(truth.claim_id, truth.is_fraud, truth.scenario, truth.ring, strict=True):
            hashes["truth"].update(repr(row).encode())
    return repr(sorted((str(name), each.hexdigest()) for name, each in hashes.items()))


@cache
def tables(config: SimulationConfig) -> dict[str, list[Row]]:
    """All events by topic, decoded, with `log_ms`; under `truth` the ground truth."""
    found: dict[str, list[Row]] = defaultdict(list)
    for chunk in Simulation(config, EVENTS).chunks():
        for part in chunk.parts:
            for value, log_ms in zip(part.values, part.log_times_ms.tolist(), strict=True):
                found[part.topic].append({**msgspec.json.decode(value), "log_ms": log_ms})
        names = ("claim_id", "is_fraud", "scenario", "ring")
        columns = zip(*(getattr(chunk.truth, name) for name in names), strict=True)
        found["truth"].extend(dict(zip(names, row, strict=True)) for row in columns)
    return found


def ms(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(int))


def with_truth(config: SimulationConfig) -> list[Row]:
    """The claims on the log, each with its ground truth."""
    truth = {row["claim_id"]: row for row in tables(config)["truth"]}
    return [{**row, **truth[row["claim_id"]]} for row in tables(config)["claims.filed"]]


# -- the same bytes -------------------------------------------------------------------------------


def test_same_seed_same_bytes_whatever_the_chunks() -> None:
    expected = record_digest(Simulation(SMALL, EVENTS).chunks())
    assert record_digest(Simulation(SMALL, EVENTS).chunks()) == expected
    assert record_digest(Simulation(SMALL, EVENTS).chunks(chunk_records=97)) == expected
    simulation = Simulation(SMALL, EVENTS)
    in_steps = [chunk for day in (1, 9, 17, 40) for chunk in simulation.chunks(until_day=day)]
    assert record_digest(in_steps) == expected
    assert list(simulation.chunks()) == []
    other = Simulation(replace(SMALL, seed=8), EVENTS)
    assert record_digest(other.chunks()) != expected


def test_a_command_changes_nothing_before_its_block_of_days() -> None:
    config = replace(SMALL, drifts=(Drift(21, "inflation", 0.5),), rings=(Ring(25, 9),))
    for day in (7, 14, 21):
        plain = Simulation(SMALL, EVENTS).chunks(until_day=day)
        assert record_digest(Simulation(config, EVENTS).chunks(until_day=day)) == record_digest(
            plain
        )


def test_chunks_are_bounded_and_in_order_of_arrival() -> None:
    last_ms = 0
    total = 0
    for chunk in Simulation(CLEAN, EVENTS).chunks(chunk_records=500):
        times = np.sort(np.concatenate([part.log_times_ms for part in chunk.parts]))
        assert len(times) == chunk.records_count <= 500
        assert times[0] >= last_ms
        assert times[-1] < chunk.until_ms
        last_ms, total = chunk.until_ms, total + len(times)
        for part in chunk.parts:
            assert (np.diff(part.log_times_ms) >= 0).all()
    assert total == sum(len(rows) for topic, rows in tables(CLEAN).items() if topic != "truth")


# -- the contract ---------------------------------------------------------------------------------


def test_every_event_is_one_of_the_domain() -> None:
    config = CLEAN
    kinds = {each.topic: each for each in EVENTS}
    sizes = []
    for chunk in Simulation(config, EVENTS).chunks():
        for part in chunk.parts:
            kind = kinds[part.topic]
            for key, value in zip(part.keys, part.values, strict=True):
                event = msgspec.json.decode(value, type=kind)
                names = list(msgspec.json.decode(value))
                known = [field.name for field in msgspec.structs.fields(kind)]
                assert names == known, "all fields, in the order of the class"
                if hasattr(event, "policy_id"):
                    assert event.policy_id == key.decode()
                assert part.partition == partition_of(key.decode(), config.partitions)
                if isinstance(event, ClaimFiled):
                    sizes.append(len(value))
                    assert event.injury_claim_cents is not None
                    assert event.vehicle_claim_cents is not None
                    total = event.injury_claim_cents + event.vehicle_claim_cents
                    assert event.total_claim_cents == total
                    assert event.incident_at is not None
                    assert event.filed_at is not None
                    assert event.incident_at < event.filed_at
                    when = event.incident_at
                    assert (event.incident_month, event.incident_day) == (when.month, when.day)
                    assert (event.incident_dow, event.incident_hour) == (when.weekday(), when.hour)
    assert 1000 < np.mean(sizes) < 1500


def test_another_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="PolicyChanged has no field"):
        Simulation(SMALL, EventClasses(PolicyChanged, PolicyChanged, ClaimAdjudicated))


def test_profiles_arrive_before_their_claims() -> None:
    first: dict[str, int] = {}
    for row in tables(LARGE)["policies.changed"]:
        first.setdefault(row["policy_id"], row["log_ms"])
    for row in tables(LARGE)["claims.filed"]:
        assert first[row["policy_id"]] < ms(row["filed_at"])


def test_policies_begin_change_and_share_phones() -> None:
    rows = tables(LARGE)["policies.changed"]
    begun = {row["policy_id"] for row in rows if ms(row["inception_at"]) >= LARGE.start_ms}
    assert 0.04 < len(begun) / LARGE.policies < 0.15
    changes = Counter(row["policy_id"] for row in rows)
    assert max(changes.values()) >= 3
    assert len({row["change_id"] for row in rows}) == len(rows)
    claims = Counter(row["policy_id"] for row in tables(LARGE)["claims.filed"])
    assert max(claims.values()) >= 8, "honest repeat claimants"
    phones = defaultdict(set)
    for row in with_truth(LARGE):
        if not row["is_fraud"]:
            phones[row["phone"]].add(row["policy_id"])
    shared = sum(len(policies) > 1 for policies in phones.values())
    assert 0.03 < shared / len(phones) < 0.2, "families share phones"


# -- shares ---------------------------------------------------------------------------------------


def test_frauds_and_scenarios_have_their_shares() -> None:
    truth = tables(LARGE)["truth"]
    assert np.mean([row["is_fraud"] for row in truth]) == pytest.approx(0.03, abs=0.005)
    counts = Counter(row["scenario"] for row in truth)
    assert set(counts) == set(SCENARIOS)
    assert counts["staged_ring"] > counts["stolen_identity"]
    ids = [row["claim_id"] for row in truth]
    assert len(set(ids)) == len(ids)
    on_log = {row["claim_id"] for row in tables(LARGE)["claims.filed"]}
    assert set(ids) == on_log


def test_the_truth_is_not_on_the_log() -> None:
    for chunk in Simulation(SMALL, EVENTS).chunks():
        for part in chunk.parts:
            text = b"\n".join(part.values)
            assert not any(name.encode() in text for name in SCENARIOS[1:])


def test_rings_share_phones_accounts_clinic_and_shop() -> None:
    rings: dict[str, list[Row]] = defaultdict(list)
    for row in with_truth(LARGE):
        if row["scenario"] == "staged_ring":
            rings[row["ring"]].append(row)
    large = [rows for rows in rings.values() if len(rows) >= 8]
    assert large
    for rows in large:
        assert len({row["phone"] for row in rows}) <= 3
        assert len({row["bank_account"] for row in rows}) <= 2
        assert len({row["clinic_id"] for row in rows if row["clinic_id"]}) == 1
        top_shop = Counter(row["repair_shop_id"] for row in rows).most_common(1)[0][1]
        assert top_shop / len(rows) >= 0.5
        filed = [ms(row["filed_at"]) for row in rows]
        assert max(filed) - min(filed) <= 42 * DAY_MS


def test_scenarios_show_their_signs() -> None:
    rows = with_truth(LARGE)

    def of(scenario: str) -> list[Row]:
        return [row for row in rows if row["scenario"] == scenario]

    def mean(some: list[Row], name: str) -> float:
        return float(np.mean([row[name] for row in some]))

    honest = of("none")
    assert mean(of("crooked_shop"), "vehicle_claim_cents") > 1.2 * mean(
        honest, "vehicle_claim_cents"
    )
    shops = Counter(row["repair_shop_id"] for row in of("crooked_shop"))
    assert len(shops) <= 2
    assert mean(of("inflated_injury"), "injury_claim_cents") > 3 * mean(
        honest, "injury_claim_cents"
    )
    inception = {
        row["policy_id"]: ms(row["inception_at"]) for row in tables(LARGE)["policies.changed"]
    }
    early = [ms(row["filed_at"]) - inception[row["policy_id"]] for row in of("early_policy")]
    assert np.mean([age < 47 * DAY_MS for age in early]) > 0.9
    assert {row["channel"] for row in of("stolen_identity")} == {"app"}
    days = {(ms(row["filed_at"]) - LARGE.start_ms) // DAY_MS % 30 for row in of("stolen_identity")}
    assert days <= set(range(5))


def test_a_ring_on_command_comes_on_its_day() -> None:
    config = replace(CLEAN, rings=(Ring(at_day=20, claims=15, spread_days=2),))
    rows = [row for row in tables(config)["truth"] if row["ring"] == "commanded-0"]
    assert len(rows) == 15
    claims = {row["claim_id"]: row for row in tables(config)["claims.filed"]}
    for row in rows:
        day = (ms(claims[row["claim_id"]]["filed_at"]) - SMALL.start_ms) // DAY_MS
        assert day in (20, 21)


@pytest.mark.parametrize(
    ("kind", "size"),
    [("inflation", 0.5), ("new_shop_mix", 0.4), ("missing_field", 0.5), ("channel_shift", 0.5)],
)
def test_drift_begins_on_its_day(kind: Any, size: float) -> None:
    config = replace(LARGE, days=60, drifts=(Drift(at_day=30, kind=kind, size=size),))
    before: list[Row] = []
    after: list[Row] = []
    for row in tables(config)["claims.filed"]:
        late = ms(row["filed_at"]) >= config.start_ms + 30 * DAY_MS
        (after if late else before).append(row)

    def measure(rows: list[Row]) -> float:
        if kind == "inflation":
            return float(np.median([row["vehicle_claim_cents"] for row in rows]))
        if kind == "new_shop_mix":
            shops = [int(row["repair_shop_id"][5:]) for row in rows if row["repair_shop_id"]]
            return float(np.mean([shop >= 80 for shop in shops]))
        if kind == "missing_field":
            return float(np.mean([row["police_report_available"] is None for row in rows]))
        return float(np.mean([row["channel"] == "app" for row in rows]))

    low, high = measure(before), measure(after)
    if kind == "inflation":
        assert high / low == pytest.approx(1.5, abs=0.08)
    elif kind == "channel_shift":
        assert high == pytest.approx(low + (1 - low) * size, abs=0.04)
    else:
        assert low == 0
        assert high == pytest.approx(size, abs=0.04)


def test_labels_follow_the_published_curve() -> None:
    config = replace(LARGE, fraud_ratio=0.2)
    filed = {row["claim_id"]: ms(row["filed_at"]) for row in tables(config)["claims.filed"]}
    truth = {row["claim_id"]: row["is_fraud"] for row in tables(config)["truth"]}
    outcomes = tables(config)["claims.adjudicated"]
    horizon_ms = config.start_ms + (config.days - 120) * DAY_MS
    old = {claim for claim, at_ms in filed.items() if at_ms < horizon_ms}
    known = [row for row in outcomes if row["claim_id"] in old]
    assert len(known) / len(old) == pytest.approx(0.96, abs=0.01)
    for source in ("settlement", "investigation"):
        ages = [
            (row["log_ms"] - filed[row["claim_id"]]) / DAY_MS
            for row in known
            if row["source"] == source
        ]
        for days in (10, 20, 40, 80):
            share = np.mean([age <= days for age in ages])
            assert share == pytest.approx(delay_cdf(days, source), abs=0.03)
    frauds = [row for row in known if truth[row["claim_id"]]]
    missed = np.mean([row["outcome"] == "legit" for row in frauds])
    assert missed == pytest.approx(config.undetected_ratio, abs=0.02)
    assert all(truth[row["claim_id"]] for row in outcomes if row["outcome"] == "fraud")
    assert all(ms(row["decided_at"]) <= row["log_ms"] for row in outcomes)


def test_late_and_repeated_claims() -> None:
    rows = tables(LARGE)["claims.filed"]
    seen: dict[str, Row] = {}
    twice = 0
    late = 0
    for row in rows:
        if row["claim_id"] in seen:
            twice += 1
            first = seen[row["claim_id"]]
            assert {**row, "log_ms": 0} == {**first, "log_ms": 0}
            assert row["log_ms"] > first["log_ms"]
            continue
        seen[row["claim_id"]] = row
        late += row["log_ms"] - ms(row["filed_at"]) > 3_600_000
    assert twice / len(seen) == pytest.approx(0.005, abs=0.002)
    assert late / len(seen) == pytest.approx(0.01, abs=0.003)


def test_faults_have_their_share_and_leave_the_claim_otherwise_unchanged() -> None:
    shares = DirtyShares(0.05, 0.05, 0.05, 0.05, 0.05)

    def values(config: SimulationConfig) -> list[bytes]:
        return [
            value
            for chunk in Simulation(config, EVENTS).chunks()
            for part in chunk.parts
            if part.topic == "claims.filed"
            for value in part.values
        ]

    clean, dirty = values(replace(SMALL, dirty=NO_FAULTS)), values(replace(SMALL, dirty=shares))
    assert len(clean) == len(dirty)
    changed = [pair for pair in zip(clean, dirty, strict=True) if pair[0] != pair[1]]
    assert len(changed) / len(clean) == pytest.approx(0.25, abs=0.04)
    refused = 0
    for _, value in changed:
        try:
            msgspec.json.decode(value, type=ClaimFiled)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            refused += 1
    assert refused / len(clean) == pytest.approx(0.05, abs=0.02)


def test_weeks_and_years_have_seasons() -> None:
    config = replace(LARGE, days=364)
    days = np.zeros(364)
    for row in tables(config)["claims.filed"]:
        days[(ms(row["filed_at"]) - config.start_ms) // DAY_MS] += 1
    weekday = days.reshape(52, 7).mean(axis=0)  # day 0 is a Monday
    assert weekday[5:].max() < 0.8 * weekday[:5].min()
    assert days[300:350].mean() > 1.2 * days[120:170].mean()


@pytest.mark.parametrize(
    "change",
    [
        {"days": 0},
        {"fraud_ratio": 0.9},
        {"policies": 3},
        {"dirty": DirtyShares(0.5, 0.5, 0.5, 0, 0)},
        {"drifts": (Drift(1, "rain", 0.5),)},  # type: ignore[arg-type]
        {"rings": (Ring(1, 0),)},
    ],
)
def test_impossible_configs_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(SMALL, **change)


def test_tiny_and_quiet_simulations_run() -> None:
    quiet = SimulationConfig(days=3, claims_per_day=0.01, policies=100)
    chunks = list(Simulation(quiet, EVENTS).chunks())
    assert sum(chunk.records_count for chunk in chunks) >= 80
    alone = SimulationConfig(days=1, claims_per_day=0.001, policies=100, rings=(Ring(0, 3),))
    rings = [ring for chunk in Simulation(alone, EVENTS).chunks() for ring in chunk.truth.ring]
    assert rings.count("commanded-0") == 3
