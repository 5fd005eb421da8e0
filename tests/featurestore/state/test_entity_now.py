"""What the features know of an entity now, against the oracle's claim that is filed at this moment.

The oracle counts for a claim that names only this entity; `current="in"` is taken out of the
definitions, as nobody files a claim here.
"""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace_examples.auto_claims import DOMAIN, ClaimFiled
from featurestore.definitions.features import WindowFeature
from featurestore.state.feature_look import EntityNow
from featurestore.state.intake import Intake
from tests.oracles.naive_features import naive_vectors
from tests.worlds.random_events import KEY, a_stream, as_facts, as_records

DAY_MS = 86_400_000
LATENESS_MS, REMEMBER_MS = 30 * DAY_MS, 400 * DAY_MS
WITHOUT_OWN = dataclasses.replace(
    DOMAIN,
    features=tuple(
        dataclasses.replace(each, current=False) if isinstance(each, WindowFeature) else each
        for each in DOMAIN.features
    ),
)


def taken(stream: list[Any]) -> Intake:
    intake = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS)
    facts = as_facts(as_records(stream))
    half = len(facts) // 2
    intake.take(facts[:half])
    intake.take(facts[half:])
    return intake


def spellings(stream: list[Any], name: str) -> list[str]:
    found = {getattr(event, name) for kind, event, *_ in stream if kind == "claim"}
    return sorted(each for each in found if each)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), revised=st.booleans())
@settings(max_examples=8)
def test_windows_are_those_of_a_claim_filed_now(seed: int, size: int, revised: bool) -> None:
    stream = a_stream(seed, size, revised=revised)
    intake = taken(stream)
    look, watermark = intake.features.look, intake.watermark
    if not any(kind == "claim" for kind, *_ in stream):
        return
    now = datetime.fromtimestamp(watermark / 1000, UTC)
    before = {name: each.tobytes() for name, each in intake.arrays().items()}
    for entity in DOMAIN.entities:
        for key in spellings(stream, entity.key):
            claim = ClaimFiled(claim_id="now", filed_at=now, **{entity.key: key})
            probe = ("claim", claim, watermark, watermark)
            want = dict(zip(DOMAIN.feature_names,
                            naive_vectors(WITHOUT_OWN, [*stream, probe], LATENESS_MS)[-1],
                            strict=True))  # fmt: skip
            found = look.entity(entity.name, key, watermark)
            if found is None:  # a placeholder: no entity
                assert all(math.isnan(want[f.name]) for f in DOMAIN.features
                           if isinstance(f, WindowFeature) and f.entity == entity)  # fmt: skip
                continue
            assert set(found.values) == {
                f.name for f in DOMAIN.features
                if isinstance(f, WindowFeature) and f.entity == entity
            }  # fmt: skip
            for name, value in found.values.items():
                assert value == (None if math.isnan(want[name]) else want[name]), (key, name)
    assert {name: each.tobytes() for name, each in intake.arrays().items()} == before


def test_a_profile_is_the_newest_one_with_its_time() -> None:
    stream = a_stream(3, 200)
    look = taken(stream).features.look
    newest: dict[str, tuple[int, Any]] = {}
    for kind, event, time_ms, _ in stream:
        key = getattr(event, "policy_id", "") or ""
        if kind == "change" and time_ms >= newest.get(key, (0, None))[0]:
            newest[key] = (time_ms, event)
    assert len(newest) > 2
    group = DOMAIN.groups[0]
    for key, (time_ms, event) in newest.items():
        found = look.entity(group.name, key.upper(), 0)
        assert isinstance(found, EntityNow)
        assert (found.key, found.changed_ms) == (key, time_ms)
        assert found.values["customer_age"] == event.customer_age
        assert found.values["customer_gender"] == event.customer_gender.lower()
        education = event.customer_education.lower()
        unseen = "(another value)"
        assert found.values["customer_education"] == (education if education != "?" else unseen)
    assert look.entity(group.name, "nobody", 0) is None


def test_unknown_names_and_entities() -> None:
    look = taken(a_stream(3, 50)).features.look
    with pytest.raises(KeyError):
        look.entity("galaxy", "a", 0)
    assert look.entity("policy", "never seen", 0) is None
    assert look.entity("policy", "", 0) is None


def test_a_number_beyond_the_pool_has_no_entries() -> None:
    intake = taken(a_stream(3, 50))
    windows = intake.features.look._windows[0]
    for _, series in windows.series:
        found = series.now(10**6, intake.watermark, [2_000] * len(series.distinct_fields))
        assert not np.nan_to_num(found).any()
