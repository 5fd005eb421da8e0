"""The ledger equals a dictionary with expiry, whenever compaction runs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.buffers.siphash import hash_key
from claimtrace.verdicts import NEVER_MS
from featurestore.state.event_ledger import BEGINNING, CONFLICT, DUPLICATE, NEW, EventLedger

KEY = hash_key("tests")
REMEMBER_MS = 10
EVENTS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 60), st.integers(0, 1)), max_size=60
)


class Plain:
    """An oracle: a dictionary from id to (watermark at its admission, content)."""

    def __init__(self):
        self.seen, self.watermark = {}, BEGINNING

    def admit(self, name, at, content):
        if name in self.seen and self.seen[name][0] > self.watermark - REMEMBER_MS:
            return DUPLICATE if self.seen[name][1] == content else CONFLICT
        self.watermark = max(self.watermark, at)
        self.seen[name] = (self.watermark, content)
        return NEW


def compact(ledger):
    for _ in ledger.compaction():
        pass


def admit(ledger, events):
    return ledger.admit(
        [name for name, _, _ in events],
        np.array([at for _, at, _ in events], np.int64),
        np.array([content for _, _, content in events], np.uint64),
    )


@given(events=EVENTS, borders=st.lists(st.integers(0, 60), max_size=5), compacts=st.booleans())
@settings(deadline=None, max_examples=200)
def test_it_equals_a_dictionary_with_ages(events, borders, compacts):
    ledger, plain = EventLedger(KEY, 0, REMEMBER_MS), Plain()
    rows = []
    for low, high in zip([0, *sorted(borders)], [*sorted(borders), len(events)], strict=True):
        part = events[low:high]
        found = admit(ledger, part)
        want = [(plain.admit(*event), plain.watermark) for event in part]
        assert list(zip(found.statuses.tolist(), found.watermarks.tolist(), strict=True)) == want
        rows += [
            (e[0], r) for e, r, s in zip(part, found.rows, found.statuses, strict=True) if s == NEW
        ]
        for name in "abcdefg":
            row = int(ledger.find([name])[0])
            known = name in plain.seen and plain.seen[name][0] > plain.watermark - REMEMBER_MS
            assert ledger.is_known(row, plain.watermark) == known
        if compacts:
            compact(ledger)
            arrays = {name: np.array(array) for name, array in ledger.arrays().items()}
            ledger = EventLedger(KEY, 0, REMEMBER_MS)
            ledger.restore(arrays)
    assert len({row for _, row in rows}) == len(rows), "an id that is new again has its own row"


def test_forgetting_gives_memory_back_and_changes_no_answer():
    plain, compacted = (EventLedger(KEY, 1, REMEMBER_MS) for _ in range(2))
    for start in range(0, 40_000, 1000):
        events = [(f"e{at}", at, 0) for at in range(start, start + 1000)]
        events += [(f"e{at}", at, 0) for at in range(start + 980, start + 1000)]
        answers = [admit(each, events) for each in (plain, compacted)]
        np.testing.assert_array_equal(answers[0].statuses, answers[1].statuses)
        for each, answer in zip((plain, compacted), answers, strict=True):
            each.note_claims(answer.rows, np.zeros(len(events), np.int64), answer.rows[None, :])
        compact(compacted)
    assert len(plain) > 40_000
    assert len(compacted) < 6000
    for name in ("e39999", "e39992", "e30000", "e5"):
        answers = [
            each.is_known(int(each.find([name])[0]), each.watermark) for each in (plain, compacted)
        ]
        assert answers[0] == answers[1] == (name in ("e39999", "e39992"))


def test_what_a_label_needs_stays_with_its_claim():
    ledger = EventLedger(KEY, 2, REMEMBER_MS)
    rows = admit(ledger, [("a", 5, 0), ("b", 6, 0)]).rows
    ledger.note_claims(rows, np.array([5, 6]), np.array([[1, 2], [3, -1]]))
    ledger.set_outcome(int(rows[0]), 2)
    later = admit(ledger, [("x", 40, 0), ("a", 41, 1)])
    assert later.statuses.tolist() == [NEW, NEW]
    ledger.note_claims(later.rows, np.array([40, 41]), np.array([[7, 8], [9, 9]]))
    when, entities = ledger.claim(int(rows[0]))
    assert (when, entities.tolist(), ledger.outcome(int(rows[0]))) == (5, [1, 3], 2)
    when, entities = ledger.claim(int(later.rows[1]))
    assert (when, entities.tolist(), ledger.outcome(int(later.rows[1]))) == (41, [8, 9], 0)


def test_verdicts_stay_with_their_claim_while_the_ledger_grows_and_turns():
    ledger = EventLedger(KEY, 0, REMEMBER_MS)
    row = int(admit(ledger, [("a", 5, 0)]).rows[0])
    ledger.set_outcome(row, 1)
    ledger.keep_verdicts()
    assert ledger.verdict(row) == (1, NEVER_MS, NEVER_MS), "counted under edition 1"
    ledger.set_verdict(row, 3, 70, 80)
    for number in range(3000):
        name = f"e{number}"
        found = int(admit(ledger, [(name, 6, 0)]).rows[0])
        assert ledger.verdict(found) == (0, NEVER_MS, NEVER_MS)
        ledger.set_verdict(found, 2, number, number)
    assert ledger.verdict(row) == (3, 70, 80)
    again = EventLedger(KEY, 0, REMEMBER_MS)
    again.restore({name: np.array(each) for name, each in ledger.arrays().items()})
    assert again.verdict(row) == (3, 70, 80)
    for number in range(9000):  # places of expired rows are used again
        found = int(admit(ledger, [(f"f{number}", 6 + 10 * number, 0)]).rows[0])
        assert ledger.verdict(found) == (0, NEVER_MS, NEVER_MS)
        ledger.set_verdict(found, 2, number, number)
        if number % 1000 == 0:
            compact(ledger)


def test_an_event_far_behind_the_others_is_still_known_when_it_comes_again():
    """Its age counts from its admission: otherwise each delivery would be decided anew."""
    ledger = EventLedger(KEY, 0, REMEMBER_MS)
    found = admit(ledger, [("now", 1000, 0), ("old", 5, 0), ("old", 5, 0), ("old", 5, 1)])
    assert found.statuses.tolist() == [NEW, NEW, DUPLICATE, CONFLICT]
