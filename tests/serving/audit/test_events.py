"""Events of the audit: bytes, chains, refusals counted, and the proof."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.decisions import GENESIS
from claimtrace.errors import UsageError
from serving.audit.event import Actor, Draft, Head, pseudonym, read_event, seal_event, shortened
from serving.audit.refusals import MOST_KINDS, RefusalCounts, Refused
from serving.audit.trail import Trail, in_order, read_seal

drafts = st.lists(
    st.builds(
        Draft, kind=st.sampled_from(["key.added", "personal.read"]), at_ms=st.integers(0, 2**53),
        actor=st.builds(Actor, st.text(max_size=5), st.text(max_size=5)),
        claim_id=st.text(max_size=5), subject=st.text(max_size=5),
        body=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=2),
    ), min_size=1, max_size=12,
)  # fmt: skip


def sealed(found: list[Draft], writer: str = "log") -> list[bytes]:
    values, head = [], Head()
    for draft in found:
        value, head = seal_event(draft, writer, head)
        values.append(value)
    return values


def trail_of(values: list[bytes], seal: str = "") -> Trail:
    trail = Trail(read_seal(seal))
    for value, where in in_order((value, str(i)) for i, value in enumerate(values)):
        trail.add(value, where)
    trail.finish()
    return trail


def oracle_chain(values: list[bytes]) -> list[str]:
    """The chain computed over the text, without any of our code."""
    chain, chains = GENESIS, []
    for value in values:
        body = value.decode().rpartition(',"chain":"')[0] + "}"
        chain = hashlib.sha256((chain + body).encode()).hexdigest()
        chains.append(chain)
    return chains


@given(drafts)
def test_the_chain_is_that_of_the_oracle(found: list[Draft]) -> None:
    values = sealed(found)
    assert [json.loads(value)["chain"] for value in values] == oracle_chain(values)
    assert [json.loads(value)["sequence"] for value in values] == list(range(1, len(values) + 1))
    assert trail_of(values).wrong == 0


@given(drafts, st.data())
def test_every_edit_is_found(found: list[Draft], data: st.DataObject) -> None:
    """An event removed, doubled, swapped, or with one byte changed; at the end by a seal."""
    values = sealed(found)
    seal = trail_of(values).seal
    at = data.draw(st.integers(0, len(values) - 1))
    kind = data.draw(st.sampled_from(["remove", "double", "byte"]))
    if kind == "remove":
        del values[at]
    elif kind == "double":
        values.insert(at, values[at])
    else:
        place = data.draw(st.integers(0, len(values[at]) - 1))
        changed = bytearray(values[at])
        changed[place] ^= 1
        values[at] = bytes(changed)
    assert trail_of(values, seal).wrong > 0


def some(count: int) -> list[Draft]:
    return [Draft(kind="key.added", at_ms=i, actor=Actor("a")) for i in range(count)]


def test_the_end_that_was_cut_off_is_found_by_a_seal_alone() -> None:
    values = sealed(some(5))
    seal = trail_of(values).seal
    assert trail_of(values[:4]).wrong == 0
    (problem,) = trail_of(values[:4], seal).problems
    assert "4 events of 5" in problem
    longer = sealed(some(7))
    assert trail_of(longer, seal).wrong == 0


def test_a_chain_written_anew_is_found_by_a_seal() -> None:
    seal = trail_of(sealed(some(3))).seal
    forged = sealed([Draft(kind="key.added", at_ms=9, actor=Actor("b"))] * 5)
    assert trail_of(forged).wrong == 0
    assert trail_of(forged, seal).wrong == 1


def test_writers_have_chains_of_their_own() -> None:
    one, two = sealed(some(3), "w1"), sealed(some(2), "w2")
    mixed = [two[1], one[2], one[0], two[0], one[1]]
    trail = trail_of(mixed)
    assert trail.wrong == 0
    assert {name: head.sequence for name, head in trail.heads.items()} == {"w1": 3, "w2": 2}
    assert "w2 has 0 events of 2" in trail_of(one, trail.seal).problems[0]


@given(st.binary(max_size=60) | st.sampled_from([b"{}", b"[" * 10_000, b'{"chain":1}']))
def test_any_bytes_are_an_event_or_none(value: bytes) -> None:
    assert read_event(value) is None
    trail = Trail()
    trail.add(value, "here")
    assert trail.problems == ["here: this is no event of the audit"]


def test_fields_of_later_versions_are_let_pass() -> None:
    (value,) = sealed(some(1))
    event = read_event(value[:-1] + b',"more":1}')
    assert event is not None
    assert event.kind == "key.added"


@pytest.mark.parametrize("line", ["x", "log:1", "log:1:ab", "log:-1:" + "0" * 64, ",", "a" * 999])
def test_a_line_that_is_no_seal_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        read_seal(line)


def test_a_pseudonym_needs_the_secret() -> None:
    assert pseudonym("phone", "1", "a") != pseudonym("phone", "1", "b")
    assert pseudonym("phone", "1", "a") != pseudonym("email", "1", "a")
    assert "4930123" not in pseudonym("phone", "+4930123", "a")


def test_texts_from_outside_are_cut() -> None:
    assert shortened("a\x1b[31m\n" + "b" * 1000) == "a[31m" + "b" * 193


def refused(number: int = 0) -> Refused:
    return Refused(Actor("nobody"), 401, "bad_credential", "wrong secret", f"/v1/{number}")


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 15)), max_size=60))
def test_every_refusal_is_counted_once(steps: list[tuple[int, float]]) -> None:
    counts, now_s, written = RefusalCounts(), 0.0, []
    for number, step in steps:
        now_s += step
        written += counts.add(refused(number), "r", int(now_s * 1000), now_s)
    written += counts.due(0, now_s, all_windows=True)
    for number in range(4):
        of_kind = [each for each in written if each.body["route"] == f"/v1/{number}"]
        total = sum(int(each.body["count"]) for each in of_kind)
        assert total == sum(1 for each, _ in steps if each == number)


def test_the_first_is_written_at_once_and_a_flood_as_one() -> None:
    counts = RefusalCounts()
    assert [each.request_id for each in counts.add(refused(), "r1", 0, 0.0)] == ["r1"]
    assert [counts.add(refused(), "r", 0, i / 1000) for i in range(5_000)] == [[]] * 5_000
    assert [each.body["count"] for each in counts.due(0, 10.0)] == [5_000]
    assert counts.due(0, 99.0) == []


def test_a_flood_of_kinds_is_bounded() -> None:
    counts = RefusalCounts()
    written = [each for i in range(3 * MOST_KINDS) for each in counts.add(refused(i), "", 0, 0.0)]
    assert len(written) == MOST_KINDS + 1
    assert written[-1].actor.id == "many"
    left = counts.due(0, 10.0)
    assert sum(int(each.body["count"]) for each in [*written, *left]) == 3 * MOST_KINDS
