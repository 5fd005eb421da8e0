"""Outgoing records in columns, compared with a list of records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claimtrace.batches.outgoing import OutgoingBatch
from claimtrace.events import Outgoing

records = st.builds(
    Outgoing,
    topic=st.sampled_from("ab"),
    partition=st.integers(0, 2),
    key=st.none() | st.binary(max_size=3),
    value=st.none() | st.binary(max_size=3),
    log_time_ms=st.integers(0, 9),
    headers=st.sampled_from([(), (("h", b"1"),)]),
)


@given(st.lists(records, max_size=12))
def test_no_record_changes_and_each_partition_keeps_its_order(sent: list[Outgoing]) -> None:
    box = OutgoingBatch.of(sent)
    assert len(box) == len(sent)
    assert sorted(map(repr, box)) == sorted(map(repr, sent))
    for topic in "ab":
        for partition in range(3):
            want = [r for r in sent if (r.topic, r.partition) == (topic, partition)]
            assert [r for r in box if (r.topic, r.partition) == (topic, partition)] == want
            found = [
                on
                for part in box.parts
                for number, on in part.by_partition()
                if (part.topic, number) == (topic, partition)
            ]
            assert [Outgoing(*row) for part in found for row in part.rows()] == want


def test_single_ones_and_several_can_be_asked_for() -> None:
    sent = [Outgoing("a", 0, None, b"x", 1), Outgoing("a", 1, None, b"y", 2)]
    batch = OutgoingBatch.of(sent)
    assert (batch[1], batch[:1], OutgoingBatch.of(batch)) == (sent[1], sent[:1], sent)
