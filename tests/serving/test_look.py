"""A look at a claim is the decision that follows, and leaves no trace.

The oracle is the engine itself: the same record, applied as the next plan. Each history is run by
two engines, of which one is looked at all the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC, Decision
from claimtrace.editions import NEWEST
from claimtrace.encoding.encoder import encode
from claimtrace.errors import StateError
from claimtrace.events import Outgoing, Record
from claimtrace.looks import AdvisoryDecision, AsOf, advisory_answer
from claimtrace_examples.auto_claims import ClaimFiled
from featurestore.fields.event_columns import EventColumns
from featurestore.fields.interning import PassingIds
from featurestore.state import event_ledger, id_reclaim
from stream.engine.engine import Engine
from stream.engine.looked import Charge, Looked
from stream.journal.plan import Plan, plan_of
from tests.worlds.histories import DOMAINS, UNKNOWN_SCHEMA, History, a_history
from tests.worlds.rollouts import a_scorer, any_scorer_of
from tests.worlds.state_contents import contents

ONLY_A_DECISION_HAS = ("decision_id", "position", "chain")
UNKNOWN = [UNKNOWN_SCHEMA]


@pytest.fixture(autouse=True)
def _eager_maintenance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few ids be worth a pass: numbers are given out again in these small histories, too."""
    monkeypatch.setattr(id_reclaim, "MIN_STRINGS", 1)
    monkeypatch.setattr(id_reclaim, "MIN_GROWTH", 0.0)
    monkeypatch.setattr(event_ledger, "MIN_DROPPED", 1)


def planned(number: int, records: Sequence[Record], history: History) -> Plan:
    return plan_of(number, records, history.model, 1_000 + number, UNKNOWN, history.rollout)


def bits(engine: Engine) -> dict[str, bytes]:
    """The whole state as it is in memory, each array with its bytes."""
    return {name: each.tobytes() for name, each in engine.arrays().items()}


def as_followed(looked: Looked) -> tuple[Any, ...]:
    if looked.decision:
        return ("decided", json.loads(looked.decision))
    if looked.refusal is not None:
        return ("dead", *looked.refusal)
    return ("known",) if looked.is_known else ("tombstone",)


def followed(outgoing: Sequence[Outgoing], duplicates: int) -> tuple[Any, ...]:
    """What became of the only record of a plan, in the form of `as_followed`."""
    for each in outgoing:
        if each.topic == DECISIONS_TOPIC:
            fields = json.loads(each.value or b"")
            return ("decided", {n: v for n, v in fields.items() if n not in ONLY_A_DECISION_HAS})
        if each.topic == DEAD_TOPIC:
            told = {name: text.decode() for name, text in each.headers}
            return ("dead", *(told[f"x-dead-{name}"] for name in ("reason", "field", "detail")))
    return ("known",) if duplicates else ("tombstone",)


def look(engine: Engine, records: Sequence[Record], history: History) -> list[Looked]:
    return engine.look(records, None, Charge(history.model, history.rollout), UNKNOWN)


def check(history: History, warm: int, seen: dict[str, int] | None = None) -> None:
    """Run a history: its first `warm` records at once, the others one by one behind a look."""
    engine, plain = history.engine(), history.engine()
    first, rest = history.records[:warm], history.records[warm:]
    number = 1
    made = [engine.step(planned(1, first, history), first).outgoing]
    made_plain = [plain.step(planned(1, first, history), first).outgoing]
    maintenance: Iterator[int] = iter(())
    for at, record in enumerate(rest):
        if next(maintenance, None) is None:  # looks also fall between two slices
            maintenance = engine.compaction()
        answer = None
        if history.is_claim(record):
            before = bits(engine)
            ahead = list(islice((r for r in rest[at:] if history.is_claim(r)), 4))
            together = look(engine, ahead, history)
            answer = together[0]
            if at % 5 == 0:  # what the claims are with others they are alone
                assert [look(engine, [each], history)[0] for each in ahead] == together
            assert bits(engine) == before
        number += 1
        effects = engine.step(planned(number, [record], history), [record])
        made.append(effects.outgoing)
        made_plain.append(plain.step(planned(number, [record], history), [record]).outgoing)
        if answer is not None:
            said, was = as_followed(answer), followed(effects.outgoing, effects.counts.duplicates)
            assert said == was
            if seen is not None:
                for word in (said[0], *(said[1]["flags"] if said[0] == "decided" else ())):
                    seen[word] = seen.get(word, 0) + 1
    assert [list(each) for each in made] == [list(each) for each in made_plain]
    assert contents(engine) == contents(plain)


HISTORIES = given(
    seed=st.integers(0, 2**32),
    name=st.sampled_from(sorted(DOMAINS)),
    warm=st.integers(0, 60),
    more=st.integers(1, 14),
    edition=st.integers(1, NEWEST),
    rolls_out=st.booleans(),
)
# a seed can't be made smaller: nothing is gained by trying
SETTINGS = settings(
    deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@HISTORIES
@settings(SETTINGS, max_examples=25)
def test_a_look_is_the_decision_that_follows(
    seed: int, name: str, warm: int, more: int, edition: int, rolls_out: bool
) -> None:
    check(a_history(seed, name, warm + more, edition, rolls_out=rolls_out), warm)


@pytest.mark.long
@HISTORIES
@settings(SETTINGS, max_examples=1_000)
def test_a_look_is_the_decision_that_follows_in_a_thousand_histories(
    seed: int, name: str, warm: int, more: int, edition: int, rolls_out: bool
) -> None:
    check(a_history(seed, name, warm + more, edition, rolls_out=rolls_out), warm)


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_the_histories_have_what_a_look_can_meet(name: str) -> None:
    seen: dict[str, int] = {}
    for seed in (1, 2, 3):
        check(a_history(seed, name, 70, NEWEST, rolls_out=True), 30, seen)
    assert {"decided", "dead", "known", "tombstone", "late"} <= set(seen)


def claims_of(history: History) -> list[Record]:
    return [record for record in history.records if history.is_claim(record)]


@pytest.fixture(scope="module")
def history() -> History:
    return a_history(5, "auto_claims", 120, NEWEST, rolls_out=False)


@pytest.fixture
def engine(history: History) -> Engine:
    made = history.engine(any_scorer_of)
    made.step(planned(1, history.records[:90], history), history.records[:90])
    return made


def decided(engine: Engine, claim: Record, **how: Any) -> dict[str, Any]:
    (looked,) = engine.look([claim], unknown_schemas=UNKNOWN, **how)
    return json.loads(looked.decision)


def a_new_claim(history: History) -> Record:
    record = claims_of(history)[-1]
    return record._replace(value=b'{"claim_id":"new","policy_id":"P1","total_claim_cents":70000}')


def test_who_is_in_charge_is_as_of_the_newest_plan(engine: Engine, history: History) -> None:
    claim = a_new_claim(history)
    assert history.model is not None
    assert decided(engine, claim)["model"]["version"] == history.model.version
    other = a_scorer(6).ref  # refers all
    said = decided(engine, claim, model=other)
    assert (said["model"]["version"], said["outcome"]) == (6, "refer")
    assert said["reasons"]
    assert "no_model" in decided(engine, claim, charge=Charge(None))["flags"]


def test_a_restored_engine_must_be_told_its_plan(engine: Engine, history: History) -> None:
    claim, plan = a_new_claim(history), engine.newest_plan
    assert plan is not None
    restored = history.engine(any_scorer_of)
    restored.restore(engine.arrays())
    with pytest.raises(StateError, match="plan 1 isn't known"):
        restored.look([claim])
    with pytest.raises(StateError, match="plan 1 isn't known"):
        restored.as_of(0)
    restored.recall(plan)
    assert restored.look([claim]) == engine.look([claim])
    assert restored.as_of(5_000) == engine.as_of(5_000)
    assert engine.as_of(5_000).behind_ms == 5_000 - plan.now_ms
    # a plan that begins an edition names no model, and changes nothing about who is in charge
    restored.recall(Plan(number=2, ranges=[], model=None, now_ms=0, edition=NEWEST))
    assert restored.look([claim]) == engine.look([claim])


def test_an_engine_without_any_plan_can_be_looked_at(history: History) -> None:
    fresh = history.engine()
    assert "no_model" in decided(fresh, a_new_claim(history))["flags"]
    assert fresh.as_of(7) == AsOf(0, "", None, 0)
    assert fresh.look([]) == []


def test_an_unknown_id_in_two_roles_is_one_id(engine: Engine, history: History) -> None:
    """A phone that nobody has seen, as the claimant's and as the other party's."""
    features = engine.intake.features
    ids = {name: PassingIds(each) for name, each in features._interners.items()}
    claim = ClaimFiled(claim_id="new", phone="555-7777", other_party_phone="(555) 7777")
    reading, flags = features.look.reading, np.zeros(1, np.int64)
    _, numbers = reading.number_entities(EventColumns([claim], ClaimFiled), ids, flags)
    known = len(features._interners["phone"])
    assert numbers[reading.slots_of("phone"), 0].tolist() == [known, -1]
    record = a_new_claim(history)._replace(value=encode(claim))
    said = decided(engine, record)
    outgoing = engine.step(planned(2, [record], history), [record]).outgoing
    assert followed(outgoing, 0)[1] == said


def test_an_advisory_answer_has_the_fields_of_a_decision_but_three(
    engine: Engine, history: History
) -> None:
    (looked,) = engine.look([a_new_claim(history)])
    answer = advisory_answer(looked.decision, engine.as_of(2_000))
    assert answer.startswith(b'{"advisory":true,"schema_version":')
    read = msgspec.json.decode(answer, type=AdvisoryDecision, strict=True)
    assert read.advisory
    assert read.as_of.plan == 1
    assert list(json.loads(answer)) == [
        "advisory",
        *(name for name in Decision.__struct_fields__
          if name not in (*ONLY_A_DECISION_HAS, "arm", "rollout")),
        "as_of",
    ]  # fmt: skip
    wanted = {*Decision.__struct_fields__, "advisory", "as_of"} - {*ONLY_A_DECISION_HAS}
    assert set(AdvisoryDecision.__struct_fields__) == wanted
