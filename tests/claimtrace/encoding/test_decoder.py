"""The parser is total: any bytes are an event, a named refusal or a tombstone, and never raise."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claimtrace.batches.accepted import Accepted
from claimtrace.encoding.decoder import Decoder
from claimtrace.encoding.encoder import encode
from claimtrace.event_flags import CLAMPED, FLAG_NAMES, NO_TIME, NO_ZONE, event_time_ms, flag_names
from claimtrace.events import Event, EventId, Record
from claimtrace.limits import (
    EVENT_TIME_MIN_MS,
    FUTURE_REFUSED_MS,
    FUTURE_TOLERANCE_MS,
    MAX_VALUE_BYTES,
)
from claimtrace.refusals import REASONS, Refusal
from claimtrace_examples.auto_claims import DOMAIN, ClaimFiled
from tests.worlds.fault_catalogue_form import cases_of_form
from tests.worlds.fault_catalogue_meaning import cases_of_meaning
from tests.worlds.random_events import KEY, a_stream

NOW_MS = 1_800_000_000_000
WIRE = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
TOPICS = st.sampled_from([*DOMAIN.topics, "no.such.topic"])


def record(value, topic="claims.filed", headers=()):
    return Record(topic, 0, 0, None, value, NOW_MS, headers)


def check(answer):
    """Check an answer: its type, that its reason is known, and that it repeats no content."""
    assert answer is None or isinstance(answer, Accepted | Refusal)
    if isinstance(answer, Refusal):
        assert answer.hint == REASONS[answer.reason]
        assert len(answer.detail) < 60


SEEDS = [
    put.value
    for case in (*cases_of_form(), *cases_of_meaning())
    for put in case.puts
    if put.value and len(put.value) < 3000
]
NAMES = list(ClaimFiled.__struct_fields__)
TOKENS = st.sampled_from(
    [
        *(f'"{name}"' for name in NAMES),
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "1",
        "-1",
        "1e999",
        "NaN",
        '"x"',
        '"2026-01-01T00:00:00Z"',
        '"9999-12-31T23:59:60+14:00"',
        '"0001-01-01T00:00:00-14:00"',
        '"\\u0000"',
        '"\\ud800"',
        "9" * 30,
        "0.1",
        '""',
        '"USD"',
        '"..."',
        "\\",
        '"',
        "\u202e",
    ]
)
FIELD = st.tuples(st.sampled_from(NAMES), TOKENS).map(lambda pair: f'"{pair[0]}":{pair[1]}')
OBJECTS = st.lists(FIELD, max_size=5).map(
    lambda fields: "{" + ",".join(['"claim_id":"c"', *fields]) + "}"
)
MUTATED = st.builds(
    lambda seed, at, byte, cut: (seed[:at] + bytes([byte]) + seed[at + cut :]),
    st.sampled_from(SEEDS), st.integers(0, 400), st.integers(0, 255), st.integers(0, 3),
)  # fmt: skip
ANY = st.one_of(
    st.none(),
    st.binary(max_size=100),
    st.text(max_size=50).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.lists(TOKENS, max_size=25).map(lambda parts: "".join(parts).encode()),
    OBJECTS.map(str.encode),
    MUTATED,
)


@pytest.mark.slow
@given(st.lists(st.tuples(ANY, TOPICS), max_size=6))
@settings(max_examples=1500, deadline=None)
@example([(b'{"claim_id":"c","filed_at":"0001-01-01T00:00:00+23:59"}', "claims.filed")])
@example([(b'{"claim_id":"c","filed_at":"9999-12-31T23:59:59.999999-23:59"}', "claims.filed")])
def test_any_bytes_have_an_answer_and_neighbours_do_not_matter(put):
    records = [record(value, topic) for value, topic in put]
    answers = WIRE.decode(records)
    assert len(answers) == len(records)
    for answer, each in zip(answers, records, strict=True):
        check(answer)
        assert answer == WIRE.decode([each])[0]


@given(st.binary(min_size=1, max_size=40), st.integers(0, 80), st.integers(0, 40_000))
@settings(deadline=None)
def test_any_headers_have_an_answer(value, count, size):
    headers = (("big", b"x" * size), *((f"h{i}", b"v") for i in range(count)))
    check(WIRE.decode([record(value, headers=headers)])[0])


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=40, deadline=None)
def test_events_come_back_as_they_were(seed, shuffled):
    for _, event, time_ms, log_ms in a_stream(seed, 15):
        value = encode(event)
        if shuffled:
            value = json.dumps(dict(reversed(json.loads(value).items())), indent=1).encode()
        answer = WIRE.decode([Record(event.topic, 0, 0, None, value, log_ms)])[0]
        assert isinstance(answer, Accepted)
        assert answer.event == event
        assert answer.event_id == getattr(event, event.id_field)
        assert (answer.event_time_ms, answer.flags) == (time_ms, 0)


def test_the_content_tells_bytes_apart():
    one, same, other = (b'{"claim_id":"c"}', b'{"claim_id":"c"}', b'{"claim_id":"c" }')
    contents = [answer.content for answer in WIRE.decode([record(v) for v in (one, same, other)])]
    assert contents[0] == contents[1] != contents[2]
    repeated = Decoder(DOMAIN.events, DOMAIN.currency, KEY).decode([record(one)])[0]
    assert repeated.content == contents[0], "the same in another process with the same key"


def test_a_leap_second_in_a_text_is_left_alone():
    value = b'{"claim_id":"c","narrative":"2026-01-01T00:00:60","filed_at":"2026-01-01T00:00:00Z"}'
    assert WIRE.decode([record(value)])[0].event.narrative == "2026-01-01T00:00:60"


class Needs(Event, topic="needs", id="needs_id"):
    needs_id: EventId
    what: str


def test_a_required_field_and_an_unknown_topic_are_named():
    wire = Decoder([Needs], "USD", KEY)
    answers = wire.decode(
        [record(b'{"needs_id":"a"}', "needs"), record(b"{}", "others"), record(None, "others")]
    )
    assert answers == [
        Refusal("missing_field", "what"),
        Refusal("unknown_topic", "", "others"),
        None,
    ]


def test_a_value_at_the_limit_is_read_and_one_over_is_not():
    blank = b" " * (MAX_VALUE_BYTES - 16) + b'{"claim_id":"c"}'
    answers = WIRE.decode([record(blank), record(b" " + blank)])
    assert isinstance(answers[0], Accepted)
    assert answers[1] == Refusal("too_large", "", f"{MAX_VALUE_BYTES + 1} bytes")


@given(st.datetimes(datetime(1985, 1, 1), datetime(2030, 1, 1)), st.integers(-840, 840))
@settings(deadline=None)
def test_times_are_judged_to_the_millisecond(when, minutes):
    zoned = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    time_ms = (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    for log_ms in (time_ms - d for d in (-1, 0, FUTURE_TOLERANCE_MS, FUTURE_TOLERANCE_MS + 1,
                                         FUTURE_REFUSED_MS, FUTURE_REFUSED_MS + 1)):  # fmt: skip
        found = event_time_ms(zoned, log_ms)
        ahead = time_ms - log_ms
        if time_ms < EVENT_TIME_MIN_MS or ahead > FUTURE_REFUSED_MS:
            assert found is None
        elif ahead > FUTURE_TOLERANCE_MS:
            assert found == (log_ms, CLAMPED)
        else:
            assert found == (time_ms, 0)


def test_no_time_and_no_zone_are_flagged():
    assert event_time_ms(None, NOW_MS) == (NOW_MS, NO_TIME)
    naive = datetime(2027, 1, 1)
    assert event_time_ms(naive, NOW_MS) == (1_798_761_600_000, NO_ZONE)
    late = NOW_MS - 60 * 86_400_000
    assert event_time_ms(naive, late) is None


@given(st.integers(0, 127))
@settings(deadline=None)
def test_flags_have_names(bits):
    names = flag_names(bits)
    assert len(names) == bits.bit_count()
    assert sum(bit for bit, name in FLAG_NAMES.items() if name in names) == bits


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_says_what_to_do(reason):
    assert Refusal(reason).hint
    assert reason.isidentifier()


def test_encoding_is_plain_json():
    assert json.loads(encode(ClaimFiled(claim_id="c")))["schema_version"] == 1
    assert msgspec.json.decode(encode(ClaimFiled(claim_id="c")), type=ClaimFiled) == ClaimFiled(
        claim_id="c"
    )
