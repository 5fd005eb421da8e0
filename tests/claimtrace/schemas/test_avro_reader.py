"""The Avro reader agrees with fastavro on well-formed bytes, and refuses all others by name."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from datetime import UTC, datetime, timedelta

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ConfigError
from claimtrace.limits import MAX_FIELDS
from claimtrace.refusals import REASONS, Refusal
from claimtrace.schemas.avro_reader import plain_reader

TEXTS = st.text(max_size=20)
LONGS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.integers(-(10**13), 10**13)
PRIMITIVES = {
    "null": st.none(), "boolean": st.booleans(), "int": st.integers(-(2**31), 2**31 - 1),
    "long": LONGS, "double": FLOATS, "string": TEXTS, "bytes": st.binary(max_size=20),
    "float": st.floats(allow_nan=False, allow_infinity=False, width=32),
}  # fmt: skip


@st.composite
def types(draw, depth=0):
    """Draw an Avro type together with a strategy of its values."""
    kinds = [*PRIMITIVES, "enum", "fixed", "time"]
    kinds += ["array", "map", "union", "record"] if depth < 3 else []
    kind = draw(st.sampled_from(kinds))
    name = f"n{draw(st.uuids()).hex}"
    if kind in PRIMITIVES:
        return kind, PRIMITIVES[kind]
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": ["A", "B"]}, st.sampled_from("AB")
    if kind == "fixed":
        size = draw(st.integers(1, 5))
        values = st.binary(min_size=size, max_size=size)
        return {"type": "fixed", "name": name, "size": size}, values
    if kind == "time":
        return {"type": "long", "logicalType": "timestamp-millis"}, TIMES
    inner, values = draw(types(depth + 1))
    if kind == "union":  # one branch with a value: fastavro guesses among several
        if inner == "null" or isinstance(inner, list):
            return "null", st.none()
        branches = draw(st.permutations(["null", inner]))
        return branches, st.none() | values
    if kind == "map":
        return {"type": "map", "values": inner}, st.dictionaries(TEXTS, values, max_size=3)
    if kind == "array":
        if inner == "null":
            inner, values = "int", PRIMITIVES["int"]
        return {"type": "array", "items": ["null", inner] if isinstance(inner, dict) else inner}, (
            st.lists(values, max_size=3)
        )
    other, more = draw(types(depth + 1))
    fields = [{"name": "a", "type": inner}, {"name": "b", "type": other}]
    record = {"type": "record", "name": name, "fields": fields}
    return record, st.fixed_dictionaries({"a": values, "b": more})


@st.composite
def written(draw):
    """Draw a record schema, a value, and its bytes as fastavro writes them."""
    inner, values = draw(types())
    schema = {"type": "record", "name": "Outer", "fields": [{"name": "x", "type": inner}]}
    value = {"x": draw(values)}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return schema, out.getvalue()


def by_fastavro(schema, payload):
    return fastavro.schemaless_reader(io.BytesIO(payload), fastavro.parse_schema(schema), None)


@given(written())
@settings(max_examples=400, deadline=None)
def test_it_reads_what_fastavro_reads(one):
    schema, payload = one
    assert plain_reader(json.dumps(schema))(payload) == msgspec.json.encode(
        by_fastavro(schema, payload)
    )


@given(written(), st.data())
@settings(max_examples=300, deadline=None)
def test_cut_or_with_more_behind_it_is_refused(one, data):
    schema, payload = one
    read = plain_reader(json.dumps(schema))
    assert read(payload + b"\0") == Refusal("bad_avro", "", "1 bytes are left over")
    if payload:
        cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
        answer = read(cut)
        assert isinstance(answer, Refusal)
        assert answer.reason in REASONS


@given(written(), st.binary(max_size=40), st.integers(0, 60))
@settings(max_examples=600, deadline=None)
def test_any_bytes_have_an_answer(one, noise, at):
    schema, payload = one
    for value in (noise, payload[:at] + noise, payload[:at] + noise + payload[at + len(noise) :]):
        answer = plain_reader(json.dumps(schema))(value)
        if isinstance(answer, Refusal):
            assert answer.hint == REASONS[answer.reason]
            assert len(answer.detail) < 60
        else:
            msgspec.json.decode(answer)


def reader(kind, **more):
    return plain_reader(
        json.dumps({"type": "record", "name": "E", "fields": [{"name": "x", "type": kind}], **more})
    )


def zigzag(number):
    bits = (number << 1) ^ (number >> 63)
    out = b""
    while bits > 127:
        out += bytes([bits & 127 | 128])
        bits >>= 7
    return out + bytes([bits])


BAD = [
    ("string", zigzag(2**62), "bad_avro"),
    ("string", zigzag(-1) + b"abc", "bad_avro"),
    ("string", zigzag(2) + b"\xff\xfe", "bad_utf8"),
    ("bytes", zigzag(2**62), "bad_avro"),
    ("bytes", zigzag(-5) + b"abcde", "bad_avro"),
    ("long", b"\xff" * 20 + b"\x00", "bad_avro"),
    ("long", b"\xff" * 9 + b"\x7f", "bad_avro"),
    ("long", b"\x80" * 200_000, "bad_avro"),
    ("int", zigzag(2**31), "bad_avro"),
    ("boolean", b"\x02", "bad_avro"),
    ("double", struct.pack("<d", float("nan")), "bad_type"),
    ("float", struct.pack("<f", float("-inf")), "bad_type"),
    ("double", b"\0" * 7, "bad_avro"),
    (["null", "string"], zigzag(-1) + b"\0", "bad_avro"),
    (["null", "string"], zigzag(-2), "bad_avro"),
    (["null", "string"], zigzag(2), "bad_avro"),
    ({"type": "enum", "name": "C", "symbols": ["A"]}, zigzag(-1), "bad_avro"),
    ({"type": "enum", "name": "C", "symbols": ["A"]}, zigzag(1), "bad_avro"),
    ({"type": "fixed", "name": "F", "size": 10**12}, b"abc", "bad_avro"),
    ({"type": "array", "items": "int"}, zigzag(2**62), "too_many_fields"),
    ({"type": "array", "items": "int"}, zigzag(-(2**63)) + b"\0", "too_many_fields"),
    ({"type": "array", "items": "int"}, (zigzag(1) + b"\0") * (MAX_FIELDS + 1), "too_many_fields"),
    ({"type": "map", "values": "null"}, zigzag(2**62), "too_many_fields"),
    ({"type": "map", "values": "null"}, zigzag(2) + b"\2a\2a\0", "duplicate_key"),
    ({"type": "long", "logicalType": "timestamp-millis"}, zigzag(2**62), "time_out_of_range"),
    ({"type": "int", "logicalType": "date"}, zigzag(2**31 - 1), "time_out_of_range"),
]


@pytest.mark.parametrize(("kind", "payload", "reason"), BAD)
def test_hostile_bytes_are_refused_by_name_and_cost_nothing(kind, payload, reason):
    read = reader(kind)
    tracemalloc.start()
    answer = read(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.reason == reason
    assert peak < 2 * len(payload) + 64 * 1024


def test_the_outermost_field_is_named():
    inner = {"type": "record", "name": "I", "fields": [{"name": "deep", "type": "int"}]}
    assert reader(inner)(zigzag(2**40)).field == "x"


def record(name, *kinds):
    fields = [{"name": f"f{i}", "type": kind} for i, kind in enumerate(kinds)]
    return {"type": "record", "name": name, "fields": fields}


def doubling(levels):
    """Return a schema of a few named types that expands to 2 ** levels values of no size."""
    kind = record("R0", "null", "null")
    for level in range(1, levels):
        kind = record(f"R{level}", kind, f"R{level - 1}")
    return kind


def nested(levels):
    kind = "int"
    for _ in range(levels):
        kind = {"type": "array", "items": kind}
    return kind


UNREADABLE = [
    ("recursive", record("R", ["null", "R"])),
    ("recursive through an array", record("R", {"type": "array", "items": "R"})),
    ("a bomb of names", doubling(30)),
    ("nested too deeply", record("R", nested(40))),
    ("nested far too deeply", record("R", nested(400))),
    ("an array of nothings", record("R", {"type": "array", "items": "null"})),
    ("an array of empty records", record("R", {"type": "array", "items": record("E")})),
    ("an array of empty fixed", record("R", {"type": "array",
                                             "items": {"type": "fixed", "name": "F", "size": 0}})),
    ("too many fields", record("R", *["int"] * MAX_FIELDS)),
    ("two fields of one name", {"type": "record", "name": "R",
                                "fields": [{"name": "a", "type": "int"}] * 2}),
    ("a name that is none", {"type": "record", "name": "R",
                             "fields": [{"name": 'a":1,"b', "type": "int"}]}),
    ("a very long name", {"type": "record", "name": "R",
                          "fields": [{"name": "a" * 200, "type": "int"}]}),
    ("a type that isn't there", record("R", "Ghost")),
    ("a union in a union", record("R", [["null"]])),
    ("an empty union", record("R", [])),
    ("a negative size", record("R", {"type": "fixed", "name": "F", "size": -1})),
    ("no size", record("R", {"type": "fixed", "name": "F", "size": "4"})),
    ("no record", "string"),
    ("no fields", {"type": "record", "name": "R"}),
    ("a number", 5),
    ("fields that are none", {"type": "record", "name": "R", "fields": 7}),
    ("a field that is none", {"type": "record", "name": "R", "fields": [7]}),
    ("a type that is none", record("R", 7)),
    ("a name that is a list", {"type": "record", "name": [], "fields": []}),
]  # fmt: skip


@pytest.mark.parametrize("schema", [s for _, s in UNREADABLE], ids=[n for n, _ in UNREADABLE])
def test_schemas_that_could_unfold_or_are_none_are_refused(schema):
    with pytest.raises(ConfigError):
        plain_reader(msgspec.json.encode(schema))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b"\xff", b'{"type":"record"' + b" " * 300_000]
)
def test_bytes_that_are_no_schema_are_refused(text):
    with pytest.raises(ConfigError):
        plain_reader(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(
        ["record", "int", "null", "string", "enum", "fixed", "array", "map", "a", "R", "", "a.b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "name", "namespace", "fields", "items", "values", "symbols",
                         "size", "logicalType"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.binary(max_size=10))
@settings(max_examples=600, deadline=None)
def test_any_schema_has_an_answer(tree, payload):
    if isinstance(tree, dict):
        tree = {"type": "record", "name": "R", **tree}
    try:
        read = plain_reader(msgspec.json.encode(tree))
    except ConfigError:
        return
    assert isinstance(read(payload), bytes | Refusal)


MILLIS = 1_767_225_600_123
TIME = datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC)


@pytest.mark.parametrize(
    ("logical", "count", "text"),
    [
        ("timestamp-millis", MILLIS, "2026-01-01T00:00:00.123000Z"),
        ("timestamp-micros", MILLIS * 1000 + 7, "2026-01-01T00:00:00.123007Z"),
        ("timestamp-nanos", MILLIS * 10**6 + 999, "2026-01-01T00:00:00.123000Z"),
        ("local-timestamp-millis", MILLIS, "2026-01-01T00:00:00.123000"),
        ("timestamp-millis", -1, "1969-12-31T23:59:59.999000Z"),
        ("unheard-of", 5, 5),
    ],
)  # fmt: skip
def test_times_become_iso_text(logical, count, text):
    read = reader({"type": "long", "logicalType": logical})
    assert json.loads(read(zigzag(count))) == {"x": text}


@given(TIMES)
def test_times_are_exact(millis):
    read = reader({"type": "long", "logicalType": "timestamp-millis"})
    found = msgspec.json.decode(read(zigzag(millis)), type=dict[str, datetime])["x"]
    assert found == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)


def test_dates_bytes_and_named_types_in_a_namespace():
    kind = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}
    fields = [{"name": "a", "type": kind}, {"name": "b", "type": "own.Colour"},
              {"name": "c", "type": ["Colour", "null"]}, {"name": "d", "type": "bytes"},
              {"name": "e", "type": {"type": "int", "logicalType": "date"}}]  # fmt: skip
    read = plain_reader(
        json.dumps({"type": "record", "name": "E", "namespace": "own", "fields": fields})
    )
    found = json.loads(read(b"\0\2\0\2" + b"\4ab" + zigzag(1)))
    assert found == {"a": "RED", "b": "BLUE", "c": "BLUE", "d": "YWI=", "e": "1970-01-02"}
