"""The guard is total, passes every valid event, and finds each kind of hostile JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claimtrace.encoding import json_guard as gate
from claimtrace.encoding.json_guard import (
    BAD_STRING,
    DUPLICATE_KEY,
    NOT_AN_OBJECT,
    PASSED,
    TOO_DEEP,
    TOO_MANY_FIELDS,
    inspect,
)
from claimtrace.limits import MAX_DEPTH, MAX_FIELDS

SHARDS = st.lists(
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b'"a"',
            b'"b":',
            b'"a":1',
            b"\\",
            b'\\"',
            b"\\u0000",
            b"\\ud800",
            b"\\udc00",
            b"\\u00",
            b" ",
            b"\n",
            b"\xff",
            b"\0",
            b"1",
            b"null",
            b'"\\u0061"',
        ]
    )
).map(b"".join)
DOCUMENTS = st.one_of(
    st.binary(max_size=60), SHARDS, SHARDS.map(lambda inner: b'{"a":' + inner + b"}")
)


def codes_of(*documents):
    bounds = np.cumsum([0, *map(len, documents)])
    codes, offsets = inspect(np.frombuffer(b"".join(documents), np.uint8), bounds)
    return codes.tolist(), offsets.tolist()


@given(st.lists(DOCUMENTS, max_size=8))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_a_code_and_neighbours_do_not_matter(documents):
    codes, offsets = codes_of(*documents)
    alone = [codes_of(each) for each in documents]
    assert codes == [code for (code,), _ in alone]
    assert offsets == [offset for _, (offset,) in alone]
    for code, offset, document in zip(codes, offsets, documents, strict=True):
        assert code == PASSED or 0 <= offset <= len(document)


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
PLAIN = st.text(
    st.characters(min_codepoint=32, blacklist_categories=["Cs"], blacklist_characters='"\\'),
    max_size=5,
)


@given(st.dictionaries(PLAIN, JSON_VALUES, max_size=6), st.booleans(), st.sampled_from([None, 2]))
@example({"a": "\U0001f600 \u2028"}, True, None)
@settings(deadline=None)
def test_sound_objects_pass(thing, ascii_only, indent):
    text = json.dumps(thing, ensure_ascii=ascii_only, indent=indent)
    escaped = ascii_only and not all(key.isascii() and key.isprintable() for key in thing)
    if "\\u0000" in text or escaped:
        return
    assert codes_of(text.encode())[0] == [PASSED]


@given(st.lists(PLAIN, min_size=1, max_size=8))
@settings(deadline=None)
def test_a_key_that_stands_twice_is_found_at_its_second_place(keys):
    document = "{" + ",".join(f'"{key}":{i}' for i, key in enumerate(keys)) + "}"
    codes, offsets = codes_of(document.encode())
    if len(set(keys)) == len(keys):
        assert codes == [PASSED]
        return
    second = next(i for i, key in enumerate(keys) if key in keys[:i])
    before = "{" + ",".join(f'"{key}":{i}' for i, key in enumerate(keys[:second])) + ","
    assert (codes, offsets) == ([DUPLICATE_KEY], [len(before.encode())])


def test_all_keys_of_a_full_object_are_told_apart():
    names = [f"k{i:03}" for i in range(MAX_FIELDS)]
    sound = "{" + ",".join(f'"{name}":1' for name in names) + "}"
    assert codes_of(sound.encode())[0] == [PASSED]
    twice = sound.replace('"k511"', '"k000"')
    assert codes_of(twice.encode())[0] == [DUPLICATE_KEY]


EDGES = {
    "as deep as may be": (b"{" + b'"a":{' * (MAX_DEPTH - 1) + b"}" * MAX_DEPTH, PASSED),
    "one deeper": (b"{" + b'"a":{' * MAX_DEPTH + b"}" * (MAX_DEPTH + 1), TOO_DEEP),
    "lists count": (b'{"a":' + b"[" * MAX_DEPTH, TOO_DEEP),
    "brackets in a string do not": (b'{"a":"' + b"[" * 100 + b'"}', PASSED),
    "commas in a string do not": (b'{"a":"' + b"," * 9999 + b'"}', PASSED),
    "as many members as may be": (
        b"{" + b",".join(b'"%d":1' % i for i in range(MAX_FIELDS)) + b"}",
        PASSED,
    ),
    "one more": (
        b"{" + b",".join(b'"%d":1' % i for i in range(MAX_FIELDS + 1)) + b"}",
        TOO_MANY_FIELDS,
    ),
    "elements of lists count": (b'{"a":[' + b"1," * MAX_FIELDS + b"1]}", TOO_MANY_FIELDS),
    "an escaped quote ends no string": (b'{"a":"\\"","b":1}', PASSED),
    "an escaped backslash does": (b'{"a":"\\\\","a":1}', DUPLICATE_KEY),
    "a pair of surrogates": (b'{"a":"\\ud83d\\ude00"}', PASSED),
    "the second half alone": (b'{"a":"\\ude00"}', BAD_STRING),
    "the first half alone": (b'{"a":"\\ud83d"}', BAD_STRING),
    "the first half at the end": (b'{"a":"\\ud83d', BAD_STRING),
    "two first halves": (b'{"a":"\\ud83d\\ud83d"}', BAD_STRING),
    "NUL": (b'{"a":"\\u0000"}', BAD_STRING),
    "NUL in a key": (b'{"\\u0000":1}', BAD_STRING),
    "no NUL but a backslash and u0000": (b'{"a":"\\\\u0000"}', PASSED),
    "a key in escapes": (b'{"\\u0061":1}', DUPLICATE_KEY),
    "no object": (b"[1]", NOT_AN_OBJECT),
    "nothing": (b"", NOT_AN_OBJECT),
    "blanks": (b" \n\t", NOT_AN_OBJECT),
    "cut in an escape": (b'{"a":"\\u00', PASSED),
    "a value equal to a key": (b'{"a":"b","b":"a"}', PASSED),
    "the same key further in": (b'{"a":{"a":1},"b":{"a":1}}', PASSED),
}


@pytest.mark.parametrize("edge", EDGES)
def test_edges(edge):
    document, want = EDGES[edge]
    assert codes_of(document)[0] == [want]


def test_the_table_of_keys_starts_empty_for_each_record():
    assert codes_of(*[b'{"a":1,"b":2}'] * 50)[0] == [PASSED] * 50
    assert gate._SLOTS >= 2 * MAX_FIELDS
