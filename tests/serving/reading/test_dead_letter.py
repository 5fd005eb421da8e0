"""Dead letters are read back whole, from any bytes, and a record that is sent again is legal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.encoding.decoder import has_too_many_headers
from claimtrace.events import Record
from claimtrace.limits import MAX_VALUE_BYTES
from claimtrace.refusals import REASONS, Refusal
from serving.reading.dead_letter import (
    RESENT_HEADER,
    first_of_each,
    letter_of,
    resent,
    resent_id,
    shown_bytes,
)
from stream.decisions.dead_letters import dead_letter

NAMES = st.one_of(
    st.text(max_size=12), st.sampled_from(["x-dead-topic", "x-dead-bytes", "traceparent"]),
    st.just(RESENT_HEADER),
)  # fmt: skip
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=70).map(tuple)
RECORDS = st.builds(
    Record, st.sampled_from(["claims.filed", "a/b"]), st.integers(0, 9), st.integers(0, 2**40),
    st.one_of(st.none(), st.binary(max_size=20)), st.binary(max_size=60), st.integers(1, 2**42),
    HEADERS,
)  # fmt: skip


def dead(record: Record, reason: str = "bad_json") -> Record:
    sent = dead_letter(record, Refusal(reason, "field", "at byte 1"))
    return Record(sent.topic, sent.partition, 5, sent.key, sent.value, sent.log_time_ms,
                  sent.headers)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.sampled_from(sorted(REASONS)))
def test_a_letter_is_read_back_whole(record: Record, reason: str) -> None:
    letter = letter_of(dead(record, reason))
    assert letter.id == f"{record.topic}/{record.partition}/{record.position}"
    assert (letter.reason, letter.field, letter.hint) == (reason, "field", REASONS[reason])
    assert (letter.key, letter.value) == (record.key, record.value or b"")
    assert letter.log_time_ms == record.log_time_ms
    # what a sender wrote before our own names is never taken for ours
    if not record.headers or not record.headers[0][0].startswith("x-dead-"):
        assert letter.headers == record.headers[: len(letter.headers)]
        assert letter.why_not(None) == ""


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_a_record_that_is_sent_again_is_legal_and_named_once(record: Record) -> None:
    letter = letter_of(dead(record))
    sent = resent(letter, None, 7)
    assert (sent.topic, sent.partition, sent.key) == (record.topic, record.partition, record.key)
    assert sent.value == (record.value or b"")
    assert [name for name, _ in sent.headers].count(RESENT_HEADER) == 1
    assert resent_id(sent.headers) == letter.id
    again = Record(sent.topic, 0, 0, sent.key, sent.value, 7, sent.headers)
    assert not has_too_many_headers(again)
    assert resent(letter, b"{}", 7).value == b"{}"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["topic", "position", "bytes", "file", "log-time-ms", "reason"]),
            st.binary(max_size=30),
        )
    )
)
def test_any_headers_give_a_letter(found: list[tuple[str, bytes]]) -> None:
    headers = tuple((f"x-dead-{name}", value) for name, value in found)
    letter = letter_of(Record("claims.dead", 1, 2, None, None, 3, headers))
    assert letter.id
    assert letter.why_not(None)  # it says of no record which one it was


def test_what_was_cut_can_only_be_sent_whole() -> None:
    large = letter_of(dead(Record("t", 0, 1, b"k", b"x" * (MAX_VALUE_BYTES + 1), 1)))
    assert large.whole_bytes == MAX_VALUE_BYTES + 1
    assert "--with" in large.why_not(None)
    assert large.why_not(b"{}") == ""
    long_key = letter_of(dead(Record("t", 0, 2, b"k" * 2_000_000, b"", 1)))
    assert "key" in long_key.why_not(b"{}")


def test_a_letter_that_was_written_twice_is_one() -> None:
    record = Record("t", 0, 1, None, b"x", 1)
    twice = [letter_of(dead(record)), letter_of(dead(record)._replace(position=9))]
    assert [each.dead_at for each in first_of_each(twice)] == [(0, 5)]


@given(st.binary(max_size=50))
def test_bytes_are_shown_as_printable_ascii_that_says_which_they_were(content: bytes) -> None:
    shown = shown_bytes(content, 100)
    assert all(" " <= c <= "~" for c in shown)
    assert shown.encode().decode("unicode_escape").encode("latin-1") == content
