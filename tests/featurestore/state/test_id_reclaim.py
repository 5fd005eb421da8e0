"""Unreferenced ids are reclaimed without changing any vector."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace_examples.auto_claims import DOMAIN, ClaimFiled, PolicyChanged
from claimtrace_examples.auto_claims.entities import policy
from featurestore.definitions.domain import Domain
from featurestore.definitions.features import distinct
from featurestore.fields import interning
from featurestore.state import event_ledger, id_reclaim, profiles
from featurestore.state.intake import Intake
from featurestore.windows import entity_windows
from tests.oracles.naive_features import naive_vectors
from tests.worlds.random_events import DAY_MS, KEY, START, a_stream, as_facts, as_records, ms

LATENESS_MS = 30 * DAY_MS
SLICES = st.sampled_from([1, 7, 40, 500])


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch):
    """Run every pass, even if there are few ids and none to drop, in the smallest slices."""
    monkeypatch.setattr(id_reclaim, "MIN_STRINGS", 1)
    monkeypatch.setattr(id_reclaim, "MIN_GROWTH", 0.0)
    monkeypatch.setattr(event_ledger, "MIN_DROPPED", 1)
    monkeypatch.setattr(event_ledger, "ROWS_A_SLICE", 3)
    monkeypatch.setattr(profiles, "ENTITIES_A_SLICE", 3)
    monkeypatch.setattr(interning, "SLOTS_A_SLICE", 256)
    monkeypatch.setattr(entity_windows, "ENTITIES_A_SLICE", 64)
    monkeypatch.setattr(entity_windows, "LARGEST_FREE_SHARE", 0.0)


def compact(intake: Intake) -> None:
    for _ in intake.compaction():
        pass


def vectors_of(intake: Intake, facts: list, batch: int, slices: int) -> np.ndarray:
    """Take in facts in batches, with `slices` slices of compaction after each; returns vectors.

    With few slices a compaction runs over many batches; with many, one or several run after each.
    """
    parts, compaction = [], intake.compaction()
    for low in range(0, len(facts), batch):
        parts.append(intake.take(facts[low : low + batch]).vectors.matrix)
        for _ in range(slices):
            if next(compaction, None) is None:
                compaction = intake.compaction()
    return np.concatenate(parts)


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32), batch=st.integers(1, 12), slices=st.sampled_from([1, 7, 40, 500])
)
@settings(max_examples=20, deadline=None)
def test_vectors_equal_the_oracle_with_house_keeping_between_all_batches(seed, batch, slices):
    stream = a_stream(seed, 120)
    intake = Intake(DOMAIN, KEY, LATENESS_MS, 400 * DAY_MS)
    got = vectors_of(intake, as_facts(as_records(stream)), batch, slices)
    np.testing.assert_array_equal(got, np.array(naive_vectors(DOMAIN, stream, LATENESS_MS)))


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32), batch=st.integers(1, 12), slices=st.sampled_from([1, 7, 40, 500])
)
@settings(max_examples=20, deadline=None)
def test_a_round_that_is_never_through_changes_no_vector_of_years(seed, batch, slices):
    """Event ids expire long before window entries; entities are dropped and appear again."""
    stream = years(seed)
    intake = Intake(DOMAIN, KEY, LATENESS_MS, LATENESS_MS)
    got = vectors_of(intake, as_facts(as_records(stream)), batch, slices)
    np.testing.assert_array_equal(got, np.array(naive_vectors(DOMAIN, stream, LATENESS_MS)))


def years(seed: int) -> list:
    """Six years in 150 events, without labels: entities pause for long, and some never return."""
    rng = np.random.default_rng(seed)
    stream = []
    now = START
    for number in range(150):
        now += timedelta(hours=float(rng.choice([1, 24, 240, 960])))
        policy = f"p{rng.integers(40)}"
        if rng.random() < 0.2:
            event = PolicyChanged(
                change_id=f"x-{number}", changed_at=now, policy_id=policy, customer_age=20 + number
            )
            stream.append(("change", event, ms(now), ms(now)))
            continue
        claim = ClaimFiled(
            claim_id=f"c-{number}",
            filed_at=now,
            policy_id=policy,
            repair_shop_id=f"s{rng.integers(25)}",
            phone=f"55501{rng.integers(20):02}",
            bank_account=f"DE{rng.integers(20)}",
            total_claim_cents=int(rng.integers(1, 10**6)),
            postcode=f"{rng.integers(12)}0{rng.integers(2)}",
        )
        stream.append(("claim", claim, ms(now), ms(now)))
    return stream


POSTCODES = Domain(
    name="postcodes",
    currency="USD",
    claim=ClaimFiled,
    split_by=policy,
    features=(
        distinct("policy.postcodes.distinct.365d", of=policy, value="postcode", window="365d"),
    ),
)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_given_out_again_are_counted_as_others(seed):
    """Values are dropped and their numbers given to new values, also within a compaction."""
    stream = [fact for fact in years(seed) if fact[0] == "claim"]
    intake = Intake(POSTCODES, KEY, LATENESS_MS, LATENESS_MS)
    got = vectors_of(intake, as_facts(as_records(stream)), 1, 5)
    np.testing.assert_array_equal(got, np.array(naive_vectors(POSTCODES, stream, LATENESS_MS)))
    ids = intake.features._interners["value.postcode"]
    assert len(ids) < len({fact[1].postcode for fact in stream}), "no number was given out again"


def test_values_that_are_no_entities_live_as_long_as_they_are_counted():
    stream = [fact for fact in years(3) if fact[0] == "claim"]
    intake = Intake(POSTCODES, KEY, LATENESS_MS, LATENESS_MS)
    parts = []
    for fact in as_facts(as_records(stream)):
        parts.append(intake.take([fact]).vectors.matrix)
        compact(intake)
    want = np.array(naive_vectors(POSTCODES, stream, LATENESS_MS))
    assert want.max() >= 3
    np.testing.assert_array_equal(np.concatenate(parts), want)


def new_shops(day: int, count: int) -> list:
    """Claims of one day, each with a new shop, a new phone and a new policy."""
    claims = []
    for number in range(count):
        when = START + timedelta(days=day, seconds=number)
        name = f"{day}-{number}"
        claim = ClaimFiled(
            claim_id=f"c-{name}",
            filed_at=when,
            policy_id=f"p-{name}",
            repair_shop_id=f"s-{name}",
            phone=f"55{day:04}{number:04}",
            total_claim_cents=100_00,
        )
        claims.append(("claim", claim, ms(when), ms(when)))
    return claims


def test_memory_is_bounded_while_ever_new_entities_come():
    intake = Intake(DOMAIN, KEY, LATENESS_MS, 60 * DAY_MS)
    sizes = []
    for day in range(0, 4000, 100):
        intake.take(as_facts(as_records(new_shops(day, 200))))
        compact(intake)
        sizes.append(sum(array.nbytes for array in intake.arrays().values()))
    assert max(sizes[20:]) <= 1.5 * max(sizes[5:15])
    intake.take(as_facts(as_records(new_shops(5000, 1))))
    compact(intake)
    shops = intake.features._interners["repair_shop"]
    assert shops.find(["s-0-0"]).tolist() == [-1]
    assert shops.find(["s-5000-0"])[0] >= 0
