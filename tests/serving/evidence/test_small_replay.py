"""A small replay gives the sealed bytes, and every feature's rows give its value."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from functools import cache

import msgspec
import pytest

from claimtrace.decisions import SealedDecision
from claimtrace.errors import StateError, UsageError
from claimtrace_examples import card_payments
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.definitions.features import WindowFeature, smallest
from featurestore.windows.aggregates import AGGREGATES
from serving.evidence.cases import When
from serving.evidence.changed_claim import parsed_changes
from serving.evidence.index import EvidenceIndex
from tests.worlds.evidence_sources import MemorySources, picked
from tests.worlds.histories import DOMAINS, REMEMBER_MS, a_history
from tests.worlds.random_events import KEY

SIZES = (7, 30, 1, 90)


@cache
def sources(name, edition=3, seed=0, begins=0, count=260):
    return MemorySources(a_history(seed, name, count, edition, rolls_out=True), SIZES, begins)


def newest(world):
    """The newest decision of each claim."""
    return list({each["claim_id"]: each for each in world.claims()}.values())


def check(world, most, seed=0):
    """Explain some claims; every vector, byte and row must be the sealed one."""
    gatherer, found = world.gatherer(), []
    for decision in picked(newest(world), most, seed):
        evidence = gatherer.evidence(decision["claim_id"])
        assert evidence.position == decision["position"]
        assert (evidence.recomputed.same, evidence.recomputed.differing) == (True, [])
        assert evidence.chain.holds
        assert evidence.chain.next_holds in (True, None)
        assert evidence.complete
        assert not evidence.missing
        assert [f.name for f in evidence.features if f.agrees is False] == []
        found.append(evidence)
    return found


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("edition", [1, 3])
def test_the_bytes_are_those_of_the_stream(name, edition):
    found = check(sources(name, edition), 6)
    assert any(each.recomputed.records < each.recomputed.of_records for each in found)


def test_an_edition_begins_in_the_middle_of_the_journal():
    check(sources("auto_claims", 1, 1, begins=3), 8)


@pytest.mark.long
@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("edition", [1, 2, 3])
@pytest.mark.parametrize("seed", range(10, 20))
def test_the_bytes_of_every_claim_of_many_histories(name, edition, seed):
    world = sources(name, edition, seed, begins=3 if seed % 2 and edition < 3 else 0)
    assert len(check(world, 10_000)) == len(newest(world))


def by_hand(feature, definition, now_ms):
    """The value of a window from its counted rows, each aggregate as a school book has it."""
    rows = feature.rows
    values = [row.value for row in rows if row.value is not None]
    frauds = sum(row.outcome == "fraud" and not row.is_current for row in rows)
    empty = None if math.isnan(definition.empty) else definition.empty
    match definition.aggregate:
        case "count":
            return len(rows)
        case "sum":
            return sum(values)
        case "mean":
            return statistics.fmean(values) if values else empty
        case "std":
            return statistics.stdev(values) if len(values) > 1 else empty
        case "min":
            return min(values) if values else empty
        case "max":
            return max(values) if values else empty
        case "distinct":
            return len({row.text for row in rows} - {""})
        case "since_last":
            return (now_ms - rows[0].event_time_ms) / 86_400_000 if rows else empty
        case "outcomes":
            return frauds
        case _:
            return frauds / len(rows) if rows else empty


def with_a_minimum():
    """The payments with the one aggregate that no domain has."""
    history = a_history(2, "card_payments", 200, 3, rolls_out=False)
    least = smallest("terminal.least.30d", of=card_payments.terminal, value="amount_cents",
                     window="30d", current="in")  # fmt: skip
    domain = replace(history.domain, features=(*history.domain.features, least))
    return MemorySources(replace(history, domain=domain), SIZES)


def test_rows_counted_by_hand_give_the_value():
    seen, filled = set(), set()
    for world in (sources("auto_claims"), sources("canonical"), with_a_minimum()):
        definitions = {f.name: f for f in world.domain.features if isinstance(f, WindowFeature)}
        for evidence in check(world, 8, seed=3):
            for feature in evidence.features:
                definition = definitions.get(feature.name)
                if definition is None or feature.note:
                    continue
                for row in feature.rows:
                    at = row.known_time_ms if row.kind == "label" else row.event_time_ms
                    assert feature.from_ms < at <= feature.to_ms
                value = by_hand(feature, definition, evidence.event_time_ms)
                is_close = value == feature.value or math.isclose(
                    value, feature.value, rel_tol=1e-12
                )
                assert is_close, feature.name
                seen.add(definition.aggregate)
                if len(feature.rows) > 1 or (definition.aggregate == "since_last" and feature.rows):
                    filled.add(definition.aggregate)
    assert seen == filled
    assert seen == set(AGGREGATES)


def test_reasons_of_any_outcome_sum_to_the_margin():
    outcomes = set()
    for evidence in check(sources("auto_claims"), 12, seed=1):
        if evidence.margin is None:
            continue
        outcomes.add(evidence.outcome)
        shares = [each.contribution for each in evidence.reasons]
        assert evidence.reasons
        total = sum(shares) + evidence.rest_margin + evidence.base_margin
        assert total == pytest.approx(evidence.margin, abs=1e-5)
        assert evidence.reasons_sealed == (evidence.outcome == "refer")
        whole = sum(f.contribution for f in evidence.features) + evidence.base_margin
        assert whole == pytest.approx(evidence.margin, abs=1e-5)
    assert {"refer"} < outcomes


def test_what_if_without_a_change_is_the_decision():
    world = sources("auto_claims")
    gatherer = world.gatherer()
    for decision in picked(newest(world), 2, 2):
        amount = gatherer.evidence(decision["claim_id"]).claim
        value = json.loads(bytes(amount))["total_claim_cents"]
        evidence = gatherer.evidence(decision["claim_id"], None, {"total_claim_cents": value})
        thought = evidence.what_if
        assert (thought.outcome, thought.score) == (decision["outcome"], decision["score"])
        assert thought.features == []
        none = gatherer.evidence(decision["claim_id"], None, {}).what_if
        assert (none.margin, none.features) == (decision["margin"], [])


def test_what_if_with_another_entity_counts_its_rows():
    world = sources("auto_claims")
    gatherer = world.gatherer()
    one, other = picked([d for d in newest(world) if not d["flags"]], 2, 5)
    shop = json.loads(bytes(gatherer.evidence(other["claim_id"]).claim))["repair_shop_id"]
    thought = gatherer.evidence(one["claim_id"], None, {"repair_shop_id": shop}).what_if
    whole = world.history.engine()
    for plan, batch in batches(world):
        places = {(r.topic, r.partition, r.position): r for r in batch}
        at = world.domain.claim.topic, one["partition"], one["position"]
        if at in places:
            before = list(batch[: list(places).index(at)])
            whole.apply(plan, before)
            event = msgspec.json.decode(bytes(gatherer.evidence(one["claim_id"]).claim))
            value = msgspec.json.encode({**event, "repair_shop_id": shop})
            looked = whole.look([places[at]._replace(value=value)])[0]
            break
        whole.apply(plan, batch)
    expected = msgspec.json.decode(looked.decision)
    assert (thought.score, thought.outcome) == (expected["score"], expected["outcome"])


def batches(world):
    for plan in world.made:
        found = [world.by_place[span.topic, span.partition, p] for span in plan.ranges
                 for p in range(span.from_position, span.to_position)]  # fmt: skip
        places = {(r.topic, r.partition, r.position) for r in found}
        yield plan, [r for r in world.history.records
                     if (r.topic, r.partition, r.position) in places]  # fmt: skip


def test_the_smallest_change_leaves_the_queue():
    world, met = sources("auto_claims"), 0
    gatherer = world.gatherer()
    for decision in [d for d in newest(world) if d["outcome"] == "refer"][:4]:
        thought = gatherer.evidence(decision["claim_id"], None, {}).what_if
        for each in thought.smallest[:2]:
            change = {each.field: json.loads(bytes(each.then))}
            again = gatherer.evidence(decision["claim_id"], None, change).what_if
            assert (again.outcome, again.score) == (each.outcome, each.score)
            assert again.outcome != "refer"
            met += 1
        sizes = [each.share for each in thought.smallest if each.share is not None]
        assert sizes == sorted(sizes)
    assert met


def test_before_a_label_the_vector_is_that_of_the_day():
    """A claim whose labels arrived in earlier plans, seen from the plan before the label."""
    world, met = sources("canonical"), 0
    gatherer = world.gatherer()
    for decision in newest(world):
        evidence = gatherer.evidence(decision["claim_id"])
        own = {(r.position, f.name) for f in evidence.features for r in f.rows if r.kind == "label"}
        if not own or "late" in decision["flags"]:
            continue
        labels = {position for position, _ in own}
        plan = min(
            p.number for p in world.made for span in p.ranges
            if span.topic == world.domain.labels.event.topic
            and any(span.from_position <= at < span.to_position for at in labels)
        )  # fmt: skip
        if plan < 2 or plan > evidence.as_of.plan:
            continue
        then = gatherer.evidence(decision["claim_id"], When(at_plan=plan - 1))
        assert not then.as_of.is_decision
        rows = {(r.position, f.name) for f in then.features for r in f.rows if r.kind == "label"}
        assert not rows & own
        assert [f.name for f in then.features if f.agrees is False] == []
        met += 1
        if met == 5:
            break
    assert met


def test_on_a_later_day_labels_count_that_arrived_since():
    world = sources("auto_claims")
    gatherer, last = world.gatherer(), world.made[-1].number
    changed = 0
    for decision in picked(newest(world), 10, 4):
        then = gatherer.evidence(decision["claim_id"], When(at_plan=last))
        assert [f.name for f in then.features if f.agrees is False] == []
        changed += then.recomputed.same is False
    assert changed


def test_the_own_plan_is_the_decision():
    world = sources("canonical")
    gatherer = world.gatherer()
    decision = newest(world)[20]
    plan = gatherer.evidence(decision["claim_id"]).as_of.plan
    assert gatherer.evidence(decision["claim_id"], When(at_plan=plan)).as_of.is_decision


def test_what_is_gone_is_said():
    world = MemorySources(a_history(0, "auto_claims", 260, 3, rolls_out=False), SIZES)
    gatherer = world.gatherer()
    decision = next(
        d for d in reversed(newest(world))
        if sum(len(f.rows) for f in gatherer.evidence(d["claim_id"]).features) > 5
    )  # fmt: skip
    evidence = gatherer.evidence(decision["claim_id"])
    rows = [r for f in evidence.features for r in f.rows if r.kind == "claim" and not r.is_current]
    world.gone.add((rows[0].topic, rows[0].partition, rows[0].position))
    # the index knows the record, nobody has its bytes
    after = gatherer.evidence(decision["claim_id"])
    assert not after.complete
    assert "1 records about this claim's entities" in after.missing[0]
    assert after.recomputed.same is False
    # it was gone when the index was built: the index can't know whether it mattered
    rebuilt = world.gatherer().evidence(decision["claim_id"])
    assert not rebuilt.complete
    assert f"no records {rows[0].position} to" in rebuilt.missing[0]
    # the claim itself is gone
    world.gone.add((decision["topic"], decision["partition"], decision["position"]))
    with pytest.raises(StateError, match="neither on the log nor in the offline store"):
        gatherer.evidence(decision["claim_id"])


def test_without_the_sealed_decision_nothing_is_compared():
    world = MemorySources(a_history(0, "card_payments", 120, 3, rolls_out=False), SIZES)
    gatherer = world.gatherer()
    claim = newest(world)[5]["claim_id"]
    world.decisions.clear()
    evidence = gatherer.evidence(claim)
    assert evidence.recomputed.same is None
    assert evidence.chain is None
    assert "isn't on claims.decisions any more" in evidence.missing[0]


def test_an_index_that_grows_equals_one_built_at_once():
    world = sources("auto_claims", 1, 1, 3)
    whole, grown = world.index(), EvidenceIndex(world.engine(), KEY, REMEMBER_MS)
    for first in range(0, len(world.made), 3):
        grown.extend(world.made[first : first + 3], world.read)
    for name, column in whole.columns.items():
        assert column.tolist() == grown.columns[name].tolist(), name


def test_unknown_claims_plans_and_fields_are_refused():
    world = sources("auto_claims")
    gatherer, claim = world.gatherer(), newest(world)[0]["claim_id"]
    for unknown in ("clm-none", "", "a\0b"):
        with pytest.raises(UsageError, match="no decision on a claim"):
            gatherer.evidence(unknown)
    with pytest.raises(UsageError, match="no plan 9999"):
        gatherer.evidence(claim, When(at_plan=9999))
    for text, words in [
        ("total_claim_cents", "no FIELD=VALUE"), ("total_claim_cent=1", "no field"),
        ("claim_id=x", "which claim it is"), ("filed_at=2026-01-01", "what had happened before"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=words):
            parsed_changes(DOMAIN, [text])
    with pytest.raises(UsageError, match="would be refused: out_of_range"):
        gatherer.evidence(claim, None, {"total_claim_cents": -5})


def test_a_decision_is_read_as_it_was_sealed():
    world = sources("auto_claims")
    values = [v for each in world.decisions.values() for v in each]
    assert all(msgspec.json.decode(v, type=SealedDecision) for v in values)
