"""A dead letter keeps everything needed to send the record again, within its limits."""

from __future__ import annotations

from confluent_kafka import KafkaException, Producer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claimtrace.decisions import DEAD_TOPIC
from claimtrace.events import Record
from claimtrace.ids import digest
from claimtrace.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_VALUE_BYTES
from claimtrace.refusals import REASONS, Refusal
from stream.decisions.dead_letters import KEPT_OF_OVERSIZE_BYTES, PREFIX, dead_letter

HEADERS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=80).map(tuple)


@given(
    value=st.one_of(st.none(), st.binary(max_size=50)),
    key=st.one_of(st.none(), st.binary(max_size=5)),
    headers=HEADERS,
    position=st.integers(0, 2**62),
    reason=st.sampled_from(sorted(REASONS)),
)
@settings(deadline=None)
def test_everything_that_fits_is_kept(value, key, headers, position, reason):
    record = Record("claims.filed", 3, position, key, value, 1_800_000_000_000, headers)
    letter = dead_letter(record, Refusal(reason, "vin", "at byte 5"))
    context = {name: text for name, text in letter.headers if name.startswith(PREFIX)}
    assert (letter.topic, letter.partition, letter.key, letter.value) == (
        DEAD_TOPIC,
        3,
        key,
        value or b"",
    )
    assert letter.log_time_ms == record.log_time_ms, "no clock is read"
    assert context == {
        "x-dead-topic": b"claims.filed",
        "x-dead-partition": b"3",
        "x-dead-position": b"%d" % position,
        "x-dead-log-time-ms": b"1800000000000",
        "x-dead-reason": reason.encode(),
        "x-dead-field": b"vin",
        "x-dead-detail": b"at byte 5",
        "x-dead-hint": REASONS[reason].encode(),
    }
    assert letter.headers[len(context) :] == headers[:MAX_HEADERS]


def test_an_oversize_value_is_identified_by_its_digest():
    record = Record("claims.filed", 0, 0, None, b"x" * (MAX_VALUE_BYTES + 1), 0)
    letter = dead_letter(record, Refusal("too_large"))
    context = dict(letter.headers)
    assert letter.value == b"x" * KEPT_OF_OVERSIZE_BYTES
    assert context["x-dead-bytes"] == b"%d" % (MAX_VALUE_BYTES + 1)
    assert context["x-dead-digest"] == digest(record.value).encode()
    whole = Record("claims.filed", 0, 0, None, b"x" * MAX_VALUE_BYTES, 0)
    assert dead_letter(whole, Refusal("bad_json")).value == whole.value


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9000)), max_size=100))
@settings(deadline=None)
def test_headers_are_kept_as_far_as_they_fit(sizes):
    headers = tuple((name, b"v" * size) for name, size in sizes)
    letter = dead_letter(Record("t", 0, 0, None, b"", 0, headers), Refusal("headers_too_large"))
    kept = [each for each in letter.headers if not each[0].startswith(PREFIX)]
    assert kept == list(headers[: len(kept)])
    assert len(kept) <= MAX_HEADERS
    weight = sum(len(name) + len(value) for name, value in kept)
    assert weight <= MAX_HEADER_BYTES
    if len(kept) < min(len(headers), MAX_HEADERS):
        name, value = headers[len(kept)]
        assert weight + len(name) + len(value) > MAX_HEADER_BYTES


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=9)
SIZED_HEADERS = st.lists(st.tuples(NAMES, st.integers(0, 9000)), max_size=70)


def is_taken(key, value, headers):
    """Whether librdkafka takes a record with its usual limit: the oracle of what fits."""
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    try:
        producer.produce("claims.dead", value, key, headers=list(headers))
    except KafkaException:
        return False
    finally:
        producer.purge()
    return True


@given(st.integers(-3, 3), st.sampled_from([0, 7, 9000, MAX_VALUE_BYTES, 2**21]), SIZED_HEADERS)
@example(0, 0, [])
@example(1, 0, [])
@example(10**6, 2**21, [("n", 9000)] * 70)
@settings(deadline=None, max_examples=30)
def test_a_key_is_cut_exactly_where_the_record_could_not_be_sent(beyond, value_bytes, sizes):
    headers = tuple((name, b"v" * size) for name, size in sizes)
    record = Record("t", 0, 7, b"", b"x" * value_bytes, 0, headers)
    bare = dead_letter(record, Refusal("bad_json"))
    least, most = 16_384, 1_100_000
    while least < most:  # the longest key that librdkafka takes with this value and these headers
        middle = (least + most + 1) // 2
        fits = is_taken(b"k" * middle, bare.value, bare.headers)
        least, most = (middle, most) if fits else (least, middle - 1)
    key = b"k" * (least + beyond)
    letter = dead_letter(record._replace(key=key), Refusal("bad_json"))
    assert is_taken(letter.key, letter.value, letter.headers)
    if beyond <= 0:
        assert letter == bare._replace(key=key), "the bytes of letters that could be sent stay"
        return
    context = dict(letter.headers)
    assert letter.key == key[:KEPT_OF_OVERSIZE_BYTES]
    assert context[PREFIX + "key-bytes"] == b"%d" % len(key)
    assert context[PREFIX + "key-digest"] == digest(key).encode()
    assert [each for each in letter.headers if "x-dead-key" not in each[0]] == list(bare.headers)
