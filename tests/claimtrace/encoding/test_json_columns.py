"""Every record that the fast reader accepts, the strict decoder accepts with the same values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from benchmarks.canonical import events
from claimtrace.encoding import json_guard as gate
from claimtrace.encoding.json_columns import JsonColumnReader
from claimtrace.encoding.json_kernel import ID, MISSING, OTHER, TEXT
from claimtrace.events import Category, Cents, Count, EntityId, Event, EventId, time_ms
from claimtrace_examples.auto_claims import ClaimFiled


class Small(Event, topic="small", id="claim_id", time="filed_at"):
    claim_id: EventId
    filed_at: datetime | None = None
    shop: EntityId | None = None
    kind: Category = "none"
    amount_cents: Cents | None = None
    people: Count = 0
    signed: Annotated[int, Meta(ge=-(10**12), le=2**62)] | None = None
    wide: int = 0
    short: Annotated[str, Meta(min_length=2, max_length=4)] | None = None
    share: float | None = None
    sure: bool = False


READER = JsonColumnReader(Small)
_decode = msgspec.json.Decoder(Small).decode


def read_one(reader: JsonColumnReader, value: bytes) -> dict[str, Any] | None:
    """Return the fields of one record from the fast reader; None when the record isn't plain."""
    buffer = np.frombuffer(b"##" + value + b"}}" + reader.defaults, np.uint8)  # neighbours
    bounds = np.array([0, 2, 2 + len(value), 4 + len(value)])
    plain, columns = reader.read(buffer, bounds, np.array([1]))
    if not plain[0]:
        assert (columns.second == MISSING).all()
        return None
    found: dict[str, Any] = {}
    for f, name in enumerate(columns.names):
        a, b = int(columns.first[f, 0]), int(columns.second[f, 0])
        is_text = reader.kind_of(name) in (TEXT, ID)
        text = buffer[a:b].tobytes().decode() if is_text and b != MISSING else a
        found[name] = None if b == MISSING else text
    return found


def same_as_the_decoder(reader: JsonColumnReader, decode: Any, value: bytes) -> bool:
    """Compare the fast reader with the decoder; returns whether the record was plain."""
    found = read_one(reader, value)
    if found is None:
        return False
    codes, _ = gate.inspect(np.frombuffer(value, np.uint8), np.array([0, len(value)]))
    assert codes[0] == gate.PASSED
    event = decode(value)
    for name, got in found.items():
        want = getattr(event, name)
        if reader.kind_of(name) != OTHER:
            assert got == (time_ms(want) if isinstance(want, datetime) else want), name
        else:
            assert got is None
    return True


numbers = st.integers(-(10**20), 10**20) | st.sampled_from([0, 1, 10**11, 10**11 + 1, 10**6, 2**62])
written_numbers = numbers.map(str) | st.sampled_from(
    ["-0", "00", "01", "1.0", "1e3", "1E2", "-", "+1", "1.", ".5", "NaN", "1 2"]
)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).flatmap(
    lambda t: st.sampled_from(
        [t.isoformat() + zone for zone in ("Z", "", "+01:00", "-23:59", "+24:00", "-00:00", "z")]
        + [t.isoformat(" "), t.isoformat(timespec="milliseconds") + "Z", t.date().isoformat()]
    )
)
ODD_TIMES = (
    "2026-02-29T00:00:00Z", "2024-02-29T23:59:60Z", "2026-13-01T00:00:00Z", "2026-00-10T00:00:00Z",
    "2026-01-01T24:00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567Z",
    "2026-01-01T00:00:00.9999Z", "1969-12-31T23:59:59.9995Z", "2026-1-01T00:00:00Z",
    "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+01:60", "1900-01-01T00:00:00+12:00",
    "2200-12-31T23:59:59.999999-12:00", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z",
    "2026-01-01T00:60:00Z", "2026-01-01T00:00:00-07:30", "2100-02-29T00:00:00Z",
    "2000-02-29T00:00:00+00:00", "2026-01-01T00:00:00+24:00", "2O26-01-01T00:00:00Z",
)  # fmt: skip
odd_times = st.sampled_from(ODD_TIMES)
long_texts = st.builds(  # read eight bytes at a time, up to the one that isn't plain
    lambda size, at, odd: "x" * min(at, size) + odd + "y" * (size - at),
    st.integers(0, 40), st.integers(0, 40), st.sampled_from([*'!"\\\x1f\x7f\x80é~#[]', "", "\x00"]),
)  # fmt: skip
texts = (
    st.text(max_size=6)
    | long_texts
    | st.sampled_from(["a..b", "a.b", ".a", "a-:_.", "", "x" * 128, "x" * 129, "é" * 128, "null"])
)
values = st.one_of(
    st.just("null"), written_numbers, st.just("true"), st.just("[1]"), st.just('{"a":1}'),
    (times | odd_times).map(lambda t: f'"{t}"'),
    texts.map(lambda t: msgspec.json.encode(t).decode()),
)  # fmt: skip
fitting = {
    "claim_id": st.sampled_from(['"c-1"', '"a..b"', '"' + "x" * 129 + '"', '""', '"c_1:2.3"']),
    "filed_at": (times | odd_times).map(lambda t: f'"{t}"'),
    "amount_cents": written_numbers,
    "people": written_numbers,
    "signed": written_numbers,
    "short": st.sampled_from(['"a"', '"ab"', '"éé"', '"ééééé"', '"abcd"', '"\\u0061b"']),
    "shop": texts.map(lambda t: msgspec.json.encode(t).decode()),
    "share": st.sampled_from(["null", "1.5"]),
}
spaces = st.sampled_from(["", "", "", " ", "\n\t", "\r", "\x0b"])


@st.composite
def documents(draw: Any) -> bytes:
    names = draw(st.lists(st.sampled_from([*Small.__struct_fields__, "unknown"]), max_size=9))
    if draw(st.integers(0, 5)):
        names = ["claim_id", *dict.fromkeys(n for n in names if n not in ("claim_id", "unknown"))]
    parts = []
    for name in names:
        fits = name in fitting and draw(st.integers(0, 6))
        value = draw(fitting[name]) if fits else draw(values)
        space = draw(spaces)
        parts.append(f'{space}"{name}"{space}:{draw(spaces)}{value}{space}')
    tail = draw(st.sampled_from(["", "", "", "", ",", "}", " ", "x"]))
    return ("{" + ",".join(parts) + "}" + tail).encode("utf-8", "surrogatepass")


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(documents())
@example(b'{"claim_id":"c-1","filed_at":"2026-01-01T00:00:00.9999Z"}')
@example(b"{}")
def test_what_is_plain_means_the_same(value: bytes) -> None:
    try:
        value.decode()
    except UnicodeDecodeError:
        return
    same_as_the_decoder(READER, _decode, value)


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_damaged_claims_are_taken_by_both_or_left_to_the_decoder(data: st.DataObject) -> None:
    value = bytearray(data.draw(st.sampled_from(CLAIMS)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        if data.draw(st.booleans()):
            value[at] = data.draw(st.sampled_from(b'"\\{}[],:0123456789.eE+-TZ nulltrue\x00\x7f'))
        else:
            del value[at : at + data.draw(st.integers(1, 40))]
        if not value:
            return
    same_as_the_decoder(CLAIM_READER, msgspec.json.Decoder(ClaimFiled).decode, bytes(value))


CLAIM_READER = JsonColumnReader(ClaimFiled)
CLAIMS = [each.value for each in events(1000, 50) if each.topic == ClaimFiled.topic]


@pytest.mark.parametrize("name", ["amount_cents", "people", "signed"])
@pytest.mark.parametrize("written", ["0", "-0", "-1", "100000000000", "100000000001", "1000001",
                                     "-1000000000001", "4611686018427387905", "1" * 19, "00",
                                     "1.0", "1e3", "1E3", "-", "", "null", '"1"'])  # fmt: skip
def test_numbers_at_their_limits(name: str, written: str) -> None:
    never_more_than_the_decoder(f'{{"claim_id":"c","{name}":{written}}}'.encode())


@pytest.mark.parametrize("written", ODD_TIMES)
def test_odd_times(written: str) -> None:
    never_more_than_the_decoder(f'{{"claim_id":"c","filed_at":"{written}"}}'.encode())


def never_more_than_the_decoder(value: bytes) -> None:
    """Check that a record refused by the decoder isn't plain."""
    try:
        _decode(value)
    except msgspec.DecodeError:
        assert read_one(READER, value) is None
    else:
        same_as_the_decoder(READER, _decode, value)


def test_usual_claims_are_plain() -> None:
    decode = msgspec.json.Decoder(ClaimFiled).decode
    assert all(same_as_the_decoder(CLAIM_READER, decode, value) for value in CLAIMS)


@pytest.mark.parametrize("seen", ["2026-02-28T23:59:59.999999+14:00", "2000-02-29T00:00:00Z",
                                  "2026-01-01T00:00:00-07:30", "1970-01-01T00:00:00Z",
                                  "1969-12-31T23:59:59.9995Z"])  # fmt: skip
def test_usual_times_are_plain(seen: str) -> None:
    value = f'{{"claim_id":"c","filed_at":"{seen}"}}'.encode()
    assert same_as_the_decoder(READER, _decode, value)


def test_events_that_were_decoded_otherwise_are_put_into_their_rows() -> None:
    values = [b'{"claim_id":"c-1","shop":"a"}', b'{"claim_id":"c-2","shop":"\\u00e9","people":3}']
    buffer = np.frombuffer(b"".join(values) + READER.defaults, np.uint8)
    bounds = np.cumsum([0, *map(len, values)])
    plain, columns = READER.read(buffer, bounds, np.array([0, 1]))
    assert plain.tolist() == [True, False]
    filled = READER.fill(columns, {1: _decode(values[1])})
    shop, people = READER.names.index("shop"), READER.names.index("people")
    a, b = filled.first[shop], filled.second[shop]
    texts = [filled.buffer[x:y].tobytes().decode() for x, y in zip(a, b, strict=True)]
    assert texts == ["a", "é"]
    assert (filled.first[people, 1], filled.second[people, 1]) == (3, 0)


def test_an_unusual_type_is_left_to_the_decoder_as_a_whole() -> None:
    class Tagged(Event, topic="t", id="x", time="y", tag="tagged"):
        x: str = ""

    assert not JsonColumnReader(Tagged).is_able
    assert [READER.kind_of(name) for name in ("share", "wide", "shop")] == [OTHER, OTHER, TEXT]
