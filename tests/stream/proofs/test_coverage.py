"""Heads and rows of second places are compared with the decisions that a walk meets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.decisions import BYTES_BEHIND, GENESIS
from claimtrace.errors import UsageError
from claimtrace.events import Record
from stream.proofs.coverage import (
    Covered,
    DecisionsEnd,
    Head,
    StoredDecisions,
    Walk,
    head_problems,
    missing_parts,
    offline_problems,
    required_parts,
    until,
)


def decision(partition, position):
    """A record that ends like a sealed decision."""
    value = b"x" * BYTES_BEHIND + f'{chain(partition, position)}"}}'.encode()
    return Record("claims.decisions", partition, position, None, value, 1000 + position)


def chain(partition, position):
    return f"{partition:032x}{position + 1:032x}"


def walked(counts, wanted):
    walk = Walk(wanted)
    for partition, count in counts.items():
        records = [decision(partition, position) for position in range(count)]
        assert list(walk.over(partition, records)) == records
    return walk


@given(st.dictionaries(st.integers(0, 3), st.integers(1, 9), min_size=1), st.data())
def test_a_head_is_found_exactly_if_its_decision_is_there(counts, data):
    partition = data.draw(st.sampled_from(sorted(counts)))
    position = data.draw(st.integers(0, 12))
    head = Head("somewhere", partition, chain(partition, position))
    walk = walked(counts, {head.chain})
    assert bool(head_problems(walk, [head])) == (position >= counts[partition])
    # the same decision on another partition is none of this one's
    other = head._replace(partition=9)
    assert head_problems(walk, [other])
    assert [each.decisions for each in walk.partitions] == [n for _, n in sorted(counts.items())]


@given(st.integers(0, 9), st.integers(0, 12), st.integers(0, 12), st.integers(0, 9))
def test_rows_are_those_up_to_the_newest_and_reach_every_head(count, rows, newest, head):
    """`newest` and `head` are how many decisions there are up to the one that is named."""
    names = [GENESIS, *(chain(0, position) for position in range(12))]
    stored = [StoredDecisions(0, rows, names[newest])] if rows else []
    heads = [Head("h", 0, names[head])]
    walk = walked({0: count}, set(names) - {GENESIS})
    problems = offline_problems(walk, stored, heads)
    here = head if head <= count else 0
    is_whole = here <= newest == rows <= count if rows else here == 0
    assert bool(problems) == (not is_whole)
    assert len(problems) <= 1


def test_an_end_cuts_at_its_position():
    records = [decision(0, position) for position in range(5)]
    assert list(until(records, DecisionsEnd(3, 1))) == records[:3]
    assert list(until(records, None)) == records


def test_required_parts_are_known_ones_and_missing_unless_covered():
    assert required_parts("", ["a"]) == []
    with pytest.raises(UsageError, match="no part 'b'"):
        required_parts("a,b", ["a"])
    covered = [Covered("a", True, ""), Covered("b", False, "")]
    assert missing_parts(covered, ["a", "b", "c"]) == ["b", "c"]
