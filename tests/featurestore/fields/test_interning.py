"""An interner equals a dictionary: through growth, drops, sweeps, renumbering and snapshots."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.buffers.siphash import hash_key
from featurestore.fields.interning import Interner

KEY = hash_key("tests")
STRINGS = st.lists(
    st.sampled_from(["", "a", "b", "é", "\u202e", "a b", "x" * 300, *map(str, range(40))])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("numbers"), STRINGS),
        st.tuples(st.just("find"), STRINGS),
        st.tuples(st.just("drop"), st.integers(0, 60)),
        st.tuples(st.just("renumber"), st.integers(0, 60)),
        st.tuples(st.just("restore"), st.none()),
    ),
    max_size=12,
)


@given(steps=STEPS, slots=st.sampled_from([2, 16, 1024]))
@settings(deadline=None)
def test_it_equals_a_dictionary(steps, slots):
    ids, known, given_so_far = Interner(KEY, slots), {}, 0
    for step, argument in steps:
        if step == "numbers":
            want = []
            for text in argument:
                if text and text not in known:
                    known[text] = given_so_far
                    given_so_far += 1
                want.append(known.get(text, -1))
            assert ids.numbers(argument).tolist() == want
        elif step == "find":
            assert ids.find(argument).tolist() == [known.get(text, -1) for text in argument]
        elif step == "drop":
            for _ in ids.drop_below(argument):
                pass
            known = {text: number for text, number in known.items() if number >= argument}
        elif step == "renumber" and known:
            text = sorted(known)[argument % len(known)]
            assert ids.renumber(text) == given_so_far
            known[text] = given_so_far
            given_so_far += 1
        elif step == "restore":
            arrays = {name: np.array(array) for name, array in ids.arrays().items()}
            ids = Interner(KEY)
            ids.restore(arrays)
        assert len(ids) == given_so_far


@given(
    rounds=st.lists(st.tuples(st.sets(st.integers(0, 59)), STRINGS, STRINGS), max_size=8),
    slots=st.sampled_from([2, 16, 1024]),
)
@settings(deadline=None)
def test_the_unmarked_are_forgotten_and_no_two_ever_share_a_number(rounds, slots):
    ids, known = Interner(KEY, slots), {}

    def look_up(strings):
        for text, number in zip(strings, ids.numbers(strings).tolist(), strict=True):
            assert (number == -1) == (text == "")
            if text:
                assert known.setdefault(text, number) == number
        assert len(set(known.values())) == len(known) == ids.used

    for marked, before, meanwhile in rounds:
        look_up(before)
        live = ids.start_marking()
        chosen = [number for number in marked if number < live.size]
        live[chosen] = True
        kept = {text: number for text, number in known.items() if number in chosen}
        sweep = ids.sweep_unmarked()
        if slots != 2:  # a look-up after the marks are set and before anything is swept
            looked = ids.numbers(meanwhile).tolist()
            kept |= {t: n for t, n in zip(meanwhile, looked, strict=True) if t}
        for _ in sweep:
            pass
        known = kept
        assert ids.find(sorted(known)).tolist() == [known[text] for text in sorted(known)]
        assert ids.used == len(known)
        look_up(meanwhile)


def test_a_hundred_thousand_strings_have_a_hundred_thousand_numbers():
    ids = Interner(KEY)
    strings = [f"policy-{i}" for i in range(100_000)]
    assert ids.numbers(strings).tolist() == list(range(100_000))
    assert ids.find(strings[::-1]).tolist() == list(range(99_999, -1, -1))


def test_another_key_puts_the_same_strings_elsewhere_and_keeps_none_of_them():
    one, other = Interner(KEY), Interner(hash_key("another"))
    one.numbers(["DE-very-private"])
    other.numbers(["DE-very-private"])
    assert not np.array_equal(one.arrays()["hashes"], other.arrays()["hashes"])
    assert b"private" not in b"".join(array.tobytes() for array in one.arrays().values())
