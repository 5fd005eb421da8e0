"""Digests by kernels that call OpenSSL, compared one by one with `hashlib`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimtrace.buffers import sha_kernels as digests
from claimtrace.buffers.byte_strings import ByteStrings

texts = st.lists(st.binary(max_size=200), max_size=8)
each_way = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["openssl", "hashlib"])
def way(request, monkeypatch) -> Iterator[str]:
    if request.param == "hashlib":
        monkeypatch.setattr(digests, "HAS_OPENSSL", False)
    elif not digests.HAS_OPENSSL:
        pytest.skip("this Python shows no functions of OpenSSL")
    return request.param


@given(st.integers(0, 5), st.integers(1, 40), st.randoms())
@each_way
def test_rows(way: str, rows: int, width: int, random) -> None:
    table = np.array([[random.random() for _ in range(width)] for _ in range(rows)])
    table = table.reshape(rows, width)
    found = digests.sha256_rows(table)
    assert [row.tobytes() for row in found] == [
        hashlib.sha256(row.tobytes()).digest() for row in table
    ]


@given(st.binary(max_size=90), texts)
@each_way
def test_texts_behind_a_prefix(way: str, before: bytes, rows: list[bytes]) -> None:
    found = digests.sha1_each(before, ByteStrings.of(rows))
    assert [row.tobytes() for row in found] == [hashlib.sha1(before + row).digest() for row in rows]


@given(texts, st.integers(0, 3), st.data())
@each_way
def test_chains(way: str, rows: list[bytes], gap: int, data) -> None:
    owners = [data.draw(st.integers(0, 2)) for _ in rows]
    written = np.frombuffer(b"".join(row + b"." * (gap + 64) for row in rows), np.uint8).copy()
    sizes = np.array([len(row) for row in rows], np.int64)
    ends = np.cumsum(sizes + gap + 64) - gap - 64
    heads = np.frombuffer(b"0" * 64 + b"1" * 64 + b"2" * 64, np.uint8).reshape(3, 64).copy()
    known = [head.tobytes() for head in heads]
    want = []
    for owner, row in zip(owners, rows, strict=True):
        known[owner] = hashlib.sha256(known[owner] + row).hexdigest().encode()
        want.append(row + b"." * gap + known[owner])
    digests.chain_up(written, ends - sizes, ends, np.array(owners, np.int64), heads, gap)
    assert written.tobytes() == b"".join(want)
    assert [head.tobytes() for head in heads] == known


def test_this_machine_takes_the_fast_way() -> None:
    import _hashlib

    if hasattr(_hashlib, "__file__"):  # not built in: its library can be opened
        assert digests.HAS_OPENSSL
