"""KPL aggregation: it round-trips, and bytes that aren't well-formed stay one record."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from claimtrace.adapters.kinesis.kpl_aggregation import (
    MAGIC,
    MAX_PARTS,
    Part,
    aggregated,
    aggregated_bytes,
    parts_of,
)

parts = st.lists(
    st.builds(Part, st.text(min_size=1, max_size=8), st.binary(max_size=300)), max_size=20
)


def varint(number: int) -> bytes:
    """Encode a varint in the slowest obvious way: bits from the lowest, seven at a time."""
    bits = f"{number:b}"
    groups = [bits[max(0, end - 7) : end] for end in range(len(bits), 0, -7)]
    return bytes(int(group, 2) | (128 if i + 1 < len(groups) else 0)
                 for i, group in enumerate(groups))  # fmt: skip


def field(number: int, content: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(content)) + content


def whole(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message).digest()


def by_hand(records: list[Part], *, hashes: bool) -> bytes:
    """Encode as another producer may: a key for each record, hash keys, tags, unknown fields."""
    message = b"".join(field(1, record.key.encode()) for record in records)
    if hashes:
        message += field(2, b"340282366920938463463374607431768211455")
    for i, record in enumerate(records):
        inner = varint(8) + varint(i)
        if hashes:
            inner += varint(16) + varint(0)
        inner += field(3, record.value)
        if hashes:
            inner += field(4, field(1, b"tag") + field(2, b"value")) + varint(9 * 8 + 1) + bytes(8)
        message += field(3, inner)
    return whole(message)


@given(parts)
def test_what_goes_in_comes_out(records: list[Part]) -> None:
    packed = aggregated(records)
    assert parts_of(packed) == records
    keys = {record.key for record in records}
    content = sum(len(key.encode()) for key in keys) + sum(len(r.value) for r in records)
    assert len(packed) <= aggregated_bytes(len(keys), len(records), content)


@given(parts, st.booleans())
def test_what_others_write_is_read(records: list[Part], hashes: bool) -> None:
    assert parts_of(by_hand(records, hashes=hashes)) == records


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(content: bytes) -> None:
    for value in (content, MAGIC + content, whole(content)):
        found = parts_of(value)
        assert found is None or all(isinstance(part, Part) for part in found)


@given(parts.filter(bool), st.data())
def test_a_damaged_one_is_one_record(records: list[Part], data: st.DataObject) -> None:
    packed = bytearray(aggregated(records))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    assert parts_of(bytes(packed)) is None


def test_what_does_not_keep_to_the_form_is_one_record() -> None:
    key, record = field(1, b"k"), field(3, varint(8) + varint(0) + field(3, b"v"))
    assert parts_of(whole(key + record)) == [Part("k", b"v")]
    for message in (
        record,  # a key that isn't there
        key + field(3, field(3, b"v")),  # no key's number
        key + field(3, varint(8) + varint(0)),  # no data
        field(1, b"\xff") + record,  # a key that is no text
        key + varint(3 * 8) + varint(7),  # a number for a record
        key + record[:-1],  # cut off
        key + b"\xff" * 11,  # a number without an end
        key + varint(3 * 8 + 2) + varint(2**40) + b"v",  # longer than all of it
        key + varint(3),  # a group: not in use for twenty years
        varint(2) + varint(0),  # field 0
    ):
        assert parts_of(whole(message)) is None, message


def test_more_parts_than_any_real_record_has_are_refused() -> None:
    some = [Part("k", b"")] * MAX_PARTS
    assert parts_of(aggregated(some)) == some
    assert parts_of(aggregated([*some, some[0]])) is None
