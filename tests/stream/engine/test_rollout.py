"""A roll-out against engines of one model each: every claim has the decision of its arm's model.

The oracle runs the same records once for each model, as champion alone.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, ModelRef, check_seal
from claimtrace.editions import NEWEST, ROLLOUTS
from claimtrace.errors import StateError
from models.rollout.arms import arms_of
from stream.engine.effects import Effects
from stream.engine.engine import Engine
from stream.journal.plan import in_plan_order, plan_of
from tests.worlds.random_events import KEY, a_stream, as_records
from tests.worlds.rollouts import STARTED, a_rollout, a_scorer, rollout_of, scorer_of
from tests.worlds.stream_folder import DOMAIN, terms

RECORDS = in_plan_order(as_records(a_stream(21, 400)), DOMAIN.tie_order(NEWEST))
CASES = {
    "canary alone": a_rollout(1, shadows=()),
    "shadow alone": a_rollout(2, canary=None),
    "canary and shadow": a_rollout(3),
    "two shadows": a_rollout(4, canary=None, shadows=(3, 2)),
    "all": a_rollout(5, shadows=(3, 4, 5, 6)),
}


BARE = dataclasses.replace(DOMAIN, rules=())
"""Few claims of these records are approved where the rules have a word."""


def an_engine(edition: int = NEWEST, *, rules: bool = False) -> Engine:
    begun = msgspec.structs.replace(terms(1), edition=edition)
    return Engine(DOMAIN if rules else BARE, begun, KEY, scorer_of, rollout_of=rollout_of)


def decisions_of(effects: Effects) -> list[dict[str, Any]]:
    found = [each for each in effects.outgoing if each.topic == DECISIONS_TOPIC]
    before = GENESIS
    for each in found:
        assert check_seal(each.value, before)
        before = json.loads(each.value)["chain"]
    return [json.loads(each.value) for each in found]


Alone = dict[tuple[ModelRef, bool], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def alone() -> Alone:
    """The decisions of each model when it is champion and nothing is rolled out; with rules, too"""
    refs = [a_scorer(version).ref for version in range(1, 7)]
    return {
        (ref, rules): decisions_of(
            an_engine(rules=rules).step(plan_of(1, RECORDS, ref, 0), RECORDS)
        )
        for ref in refs
        for rules in (False, True)
    }


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_each_claim_has_the_decision_of_its_arm(name: str, rules: bool, alone: Alone) -> None:
    ref = CASES[name]
    rollout = STARTED[ref]
    engine = an_engine(rules=rules)
    plan = plan_of(1, RECORDS, rollout.champion, 0, rollout=ref)
    applied = engine.apply(plan, RECORDS)
    found = decisions_of(engine.decider.decide(applied))
    keys = applied.ingested.vectors.split_keys
    arms = arms_of(keys, "claims", rollout.canary).tolist()
    assert len(found) == len(arms) > 200
    assert (0 < sum(arms) < len(arms)) == (rollout.canary is not None)
    outcomes = {each["outcome"] for each in found}
    assert rules or outcomes == {"approve", "review", "refer"}
    named = list(zip(rollout.roles, rollout.models, strict=True))
    for row, (decision, arm) in enumerate(zip(found, arms, strict=True)):
        role, model = named[arm]
        wanted = dict(alone[model, rules][row])
        others = [(r, m, alone[m, rules][row]) for r, m in named if m != model]
        wanted |= {
            "schema_version": 3,
            "arm": role,
            "rollout": msgspec.to_builtins(ref),
            "shadow": [
                {"role": r, "model": msgspec.to_builtins(m), "score": d["score"],
                 "outcome": d["outcome"]}
                for r, m, d in others
            ],
        }  # fmt: skip
        got = dict(decision)
        del wanted["chain"], got["chain"]
        assert got == wanted


def test_without_a_roll_out_the_bytes_are_those_of_before(alone: Alone) -> None:
    for decision in alone[a_scorer(1).ref, True]:
        assert decision["schema_version"] == 3
        assert decision["shadow"] == []
        assert "arm" not in decision
        assert "rollout" not in decision


def test_a_claim_without_a_policy_has_the_champion() -> None:
    rollout = a_rollout(7, share_ppm=999_000, shadows=())
    engine = an_engine()
    records = [
        each._replace(value=each.value.replace(b'"policy_id":"', b'"policy_id":"", "was":"'))
        for each in RECORDS
    ]
    found = decisions_of(engine.step(plan_of(1, records, a_scorer(1).ref, 0, rollout=rollout),
                                     records))  # fmt: skip
    bare = [each for each in found if "incomplete" in each["flags"]]
    assert bare
    assert {each["arm"] for each in bare} == {"champion"}


def test_a_roll_out_needs_its_edition_and_its_champion() -> None:
    ref = CASES["canary and shadow"]
    plan = plan_of(1, RECORDS, a_scorer(1).ref, 0, rollout=ref)
    with pytest.raises(StateError, match="can't be in force"):
        an_engine(ROLLOUTS - 1).step(plan, RECORDS)
    with pytest.raises(StateError, match="can't be in force"):
        an_engine().step(msgspec.structs.replace(plan, model=a_scorer(2).ref), RECORDS)
    with pytest.raises(StateError, match="there is no registry"):
        Engine(DOMAIN, terms(1), KEY, scorer_of).step(plan, RECORDS)
