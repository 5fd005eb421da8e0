"""The seal: one line that is read back whole, refuses any other text, and tells any step back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.decisions import GENESIS
from claimtrace.errors import UsageError
from stream.journal.plan import Plan, Range
from stream.proofs.seal_line import (
    Counted,
    Seal,
    journal_heads,
    journal_problems,
    later_problems,
    line_of,
    planned_ends,
    seal_of,
)

counts = st.integers(0, 2**53)
heads = st.text("0123456789abcdef", min_size=64, max_size=64)
counted = st.builds(Counted, counts, heads)
partitions = st.integers(0, 10_000)
names = st.from_regex(r"[a-z][a-z0-9_.\-]{0,40}", fullmatch=True)
seals = st.builds(
    Seal,
    domain=st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True),
    at_ms=counts,
    journal=counted,
    decisions=st.dictionaries(partitions, counted, max_size=6),
    inputs=st.dictionaries(st.tuples(names, partitions), counts, max_size=6),
    approvals=st.none() | counted,
    offline=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True), counts,
                            max_size=6),
)  # fmt: skip


@given(seal=seals)
def test_a_seal_is_one_line_that_is_read_back_whole(seal):
    line = line_of(seal)
    assert "\n" not in line
    assert line.isascii()
    assert seal_of(line) == seal
    assert seal_of("  " + line.replace(" ", " \n\t ") + "\n") == seal


@given(seal=seals, data=st.data())
def test_no_changed_character_passes(seal, data):
    line = line_of(seal)
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != line[at]))
    changed = line[:at] + other + line[at + 1 :]
    if changed.split() == line.split():  # another white space
        return
    with pytest.raises(UsageError):
        seal_of(changed)


@given(text=st.text(max_size=200) | st.text(max_size=200).map(lambda t: f"claimtrace-seal/1 {t}"))
def test_any_other_text_is_refused_in_words(text):
    with contextlib.suppress(UsageError):
        seal_of(text)


@pytest.mark.parametrize("word", ["decisions/x=1:" + "a" * 64, "decisions/1=2", "approvals=3",
                                  "inputs/t=1", "new=1", "domain=twice", "at=now"])  # fmt: skip
def test_words_of_another_kind_are_refused_even_with_a_right_sum(word):
    from stream.proofs.seal_line import _sum

    line = line_of(Seal("d", 1, Counted(0, GENESIS), {}, {}, None, {}))
    text = f"{line.rpartition(' ')[0]} {word}"
    with pytest.raises(UsageError, match="none of ours"):
        seal_of(f"{text} sum={_sum(text)}")


def test_a_line_of_any_length_is_refused_soon():
    with pytest.raises(UsageError):
        seal_of("claimtrace-seal/1 " + "a=1 " * 10**6)


PLANS = [
    Plan(number=n, ranges=[Range("t", 0, 10 * n - 10, 10 * n)], model=None, now_ms=n)
    for n in range(1, 6)
]


@given(before=st.integers(0, 5), now=st.integers(0, 5))
def test_a_journal_continues_every_seal_of_its_past(before, now):
    seal = Seal("d", 1, Counted(before, journal_heads(PLANS[:before])[-1]), {}, {}, None, {})
    problems = journal_problems(seal, journal_heads(PLANS[:now]))
    assert bool(problems) == (now < before)
    other = [*PLANS[:1], *PLANS[2:]]
    if before >= 2:
        assert journal_problems(seal, journal_heads(other)) != []


@given(seal=seals, data=st.data())
def test_counts_may_grow_and_never_shrink(seal, data):
    later = seal._replace(
        inputs={key: n + data.draw(counts) for key, n in seal.inputs.items()} | {("new", 0): 3},
        offline={key: n + data.draw(counts) for key, n in seal.offline.items()},
    )
    assert later_problems(seal, later) == []
    for part, values in (("inputs", seal.inputs), ("offline", seal.offline)):
        for key, n in values.items():
            fewer = {**values, key: n - 1}
            assert len(later_problems(seal, later._replace(**{part: fewer}))) == 1
    assert later_problems(seal, later._replace(domain="other"))


def test_planned_ends_are_behind_the_last_record():
    assert planned_ends(PLANS) == {("t", 0): 50}
