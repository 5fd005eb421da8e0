"""Replay and chain check find edited, dropped, inserted or swapped decisions by position."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.embedded.file_journal import read_plans
from stream.adapters.embedded.log import EmbeddedSource
from stream.proofs.coverage import DecisionsEnd
from stream.proofs.verify import check_chains, replay
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = World(tmp_path_factory.mktemp("verified"))
    records = as_records(a_stream(17, 120))
    spread, positions = [], {}
    for i, record in enumerate(records):
        topic_partition = record.topic, i % 2
        position = positions[topic_partition] = positions.get(topic_partition, -1) + 1
        spread.append(record._replace(partition=i % 2, position=position))
    folder.put(spread)
    folder.run()
    return folder


@pytest.fixture(scope="module")
def decisions(world):
    return dict(enumerate(world.outputs()[DECISIONS_TOPIC]))


def replayed(world, partitions, ends=None):
    """Replay on a fresh engine and compare with these decisions."""
    with world.open_log() as log:
        source = EmbeddedSource(log, DOMAIN.topics, world.partitions)
        plans = read_plans(world.folder / "journal")
        return replay(world.engine(), plans, source, lambda p: iter(partitions[p]), ends=ends)


def edited(decisions, change, partition=1):
    """A copy of the decisions with the list of one partition changed by `change`."""
    changed = list(decisions[partition])
    change(changed)
    return {**decisions, partition: changed}


def flip(records, at, byte, bit=1):
    value = bytearray(records[at].value)
    value[byte] ^= bit
    records[at] = records[at]._replace(value=bytes(value))


def swap(records, a, b):
    records[a], records[b] = records[b], records[a]


def test_an_untouched_log_is_replayed(world, decisions):
    total = sum(map(len, decisions.values()))
    found = replayed(world, decisions)
    assert (found.decisions, found.differ, found.first, found.records) == (total, 0, "", 120)
    chained = check_chains(decisions)
    assert (chained.decisions, chained.broken) == (total, [])


CHANGES = {
    "a byte": (lambda r: flip(r, 5, 40), 5, 1),
    "a missing one": (lambda r: r.pop(5), 6, None),
    "the last one missing": (lambda r: r.pop(), None, 1),
    "one twice": (lambda r: r.insert(5, r[5]), 5, None),
    "two swapped": (lambda r: swap(r, 5, 6), 6, 2),
    "an empty one": (lambda r: r.__setitem__(5, r[5]._replace(value=b"")), 5, 1),
    "a tombstone": (lambda r: r.__setitem__(5, r[5]._replace(value=None)), 5, 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_replay_and_the_chain_name_the_position(world, decisions, change):
    alter, position, differ = CHANGES[change]
    wrong = edited(decisions, alter)
    found = replayed(world, wrong)
    assert found.differ >= 1
    assert differ in (None, found.differ)
    if position is None:
        assert f"{DECISIONS_TOPIC}/1 ends too early" in found.first
        return
    assert f"{DECISIONS_TOPIC}/1 position {position} differs" in found.first
    broken = check_chains(wrong).broken
    assert broken[0] == f"{DECISIONS_TOPIC}/1 position {position}"
    assert not any(f"{DECISIONS_TOPIC}/0" in each for each in broken)


def test_a_decision_that_no_plan_explains(world, decisions):
    wrong = edited(decisions, lambda r: r.append(r[-1]))
    found = replayed(world, wrong)
    assert found.differ == 1
    assert "has 1 that no plan explains" in found.first


def test_a_partition_that_no_plan_decided(world, decisions):
    """The chain alone can't tell: a partition that begins with a sound chain is accepted."""
    assert check_chains({**decisions, 2: decisions[1]}).broken == []


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_no_flipped_bit_escapes_the_chain(decisions, data):
    at = data.draw(st.integers(0, len(decisions[0]) - 1))
    byte = data.draw(st.integers(0, len(decisions[0][at].value) - 1))
    wrong = edited(decisions, lambda r: flip(r, at, byte, 1 << data.draw(st.integers(0, 7))), 0)
    broken = check_chains(wrong).broken
    assert f"{DECISIONS_TOPIC}/0 position {at}" in broken
    assert len(broken) <= 2


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_no_dropped_repeated_or_swapped_decision_escapes_the_chain(decisions, data):
    last = len(decisions[0]) - 1
    at = data.draw(st.integers(0, last - 1))
    other = data.draw(st.integers(0, last).filter(lambda i: i != at))
    changes = {
        "drop": lambda r: r.pop(at),
        "repeat": lambda r: r.insert(at, r[at]),
        "swap": lambda r: swap(r, at, other),
    }
    change = data.draw(st.sampled_from(sorted(changes)))
    assert check_chains(edited(decisions, changes[change], 0)).broken


def test_a_log_of_other_input_is_not_replayed(world, tmp_path):
    other = World(tmp_path)
    other.put(as_records(a_stream(18, 120)))
    other.run()
    theirs = dict(enumerate(other.outputs()[DECISIONS_TOPIC]))
    found = replayed(world, theirs)
    assert found.differ > 0
    assert found.first.startswith(DECISIONS_TOPIC)


def emitted_by(world):
    """The decisions of each plan by partition, as a replay makes them."""
    made = {}
    with world.open_log() as log:
        source = EmbeddedSource(log, DOMAIN.topics, world.partitions)
        plans = list(read_plans(world.folder / "journal"))

        def emit(plan, outgoing):
            parts = [each.partition for each in outgoing if each.topic == DECISIONS_TOPIC]
            made[plan] = {p: parts.count(p) for p in range(world.partitions)}

        replay(world.engine(), plans, source, lambda _: iter(()), emit=emit)
    return made


def ends_after(made, plan, partitions=2):
    """The ends of the log as of the moment when a plan's decisions have been sent."""
    counts = {p: sum(each[p] for n, each in made.items() if n <= plan) for p in range(partitions)}
    return {p: DecisionsEnd(count, plan) for p, count in counts.items()}


@pytest.mark.parametrize("behind", [0, 1, 3])
def test_a_replay_beside_workers_is_bounded_by_the_ends_at_its_start(world, decisions, behind):
    """Workers have sent more since, and have planned what they haven't sent yet."""
    made = emitted_by(world)
    last = max(made)
    ends = ends_after(made, last - behind)
    total = sum(map(len, decisions.values()))
    within = sum(end.position for end in ends.values())
    found = replayed(world, decisions, ends)
    assert (found.decisions, found.differ, found.later) == (within, 0, total - within)
    assert sum(each.decisions for each in found.partitions) == within
    # the decisions of the last plans aren't on the log at all yet
    sent = {p: decisions[p][: end.position] for p, end in ends.items()}
    found = replayed(world, sent, ends)
    assert (found.decisions, found.differ, found.later) == (within, 0, total - within)


def test_what_is_missing_before_the_ends_differs_all_the_same(world, decisions):
    made = emitted_by(world)
    ends = ends_after(made, max(made) - 1)
    sent = {p: list(decisions[p][: end.position]) for p, end in ends.items()}
    sent[1].pop()
    found = replayed(world, sent, ends)
    assert found.differ == 1
    assert "ends too early" in found.first
    more = {p: decisions[p][: end.position] for p, end in ends.items()}
    more[1] = [*more[1][:-1], more[1][-1]._replace(value=b"{}")]
    assert replayed(world, more, ends).differ == 1


def test_decisions_on_a_partition_that_no_plan_has_are_found(world, decisions):
    made = emitted_by(world)
    ends = {**ends_after(made, max(made)), 2: DecisionsEnd(5, max(made))}
    found = replayed(world, {**decisions, 2: decisions[1][:5]}, ends)
    assert found.differ == 5
    assert "claims.decisions/2 has 5 that no plan explains" in found.first
