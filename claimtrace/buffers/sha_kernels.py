"""Digests of many byte strings at once, by OpenSSL, without a Python object each.

`hashlib` calls OpenSSL too, and one call costs as much as hashing a kilobyte. Here a kernel calls
the functions of the same shared library. Where Python has OpenSSL linked in and doesn't export its
functions, or the library lacks them, `hashlib` does the work and the bytes are the same.
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any, Final

import numpy as np
from llvmlite import binding
from numba import types
from numpy.typing import NDArray

from .byte_strings import ByteStrings
from .jit import kernel

try:
    import _hashlib

    _LIBRARY: Any = ctypes.CDLL(_hashlib.__file__)
except (ImportError, AttributeError, OSError):  # built in, or without OpenSSL
    _LIBRARY = None

_ADDRESS: Final = types.uintp
_CONTEXT_BYTES: Final = 256
"""Size of the buffer for a hash context: more than the 112 bytes of a `SHA256_CTX`."""


def _function(name: str, arguments: int) -> Any:
    """Return a function of the library, callable from kernels; None when the library lacks it."""
    try:
        address = ctypes.cast(getattr(_LIBRARY, name), ctypes.c_void_p).value
    except AttributeError:
        return None
    known_as = f"claimtrace_{name}"  # a cached kernel refers to it by name, never by address
    binding.add_symbol(known_as, address)
    return types.ExternalFunction(known_as, types.int32(*[_ADDRESS] * arguments))


_sha256_init, _sha256_update = _function("SHA256_Init", 1), _function("SHA256_Update", 3)
_sha256_final = _function("SHA256_Final", 2)
_sha1_init, _sha1_update = _function("SHA1_Init", 1), _function("SHA1_Update", 3)
_sha1_final = _function("SHA1_Final", 2)
HAS_OPENSSL: Final = None not in (
    _sha256_init, _sha256_update, _sha256_final, _sha1_init, _sha1_update, _sha1_final,
)  # fmt: skip
"""Whether kernels can call all functions that are needed here."""

SHA256_BYTES, SHA1_BYTES = 32, 20


def sha256_rows(table: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8[n, 32]: the SHA-256 of each row's bytes.

    >>> sha256_rows(np.zeros((1, 3), np.uint8))[0, :4].tobytes().hex()
    '709e80c8'
    """
    rows = np.ascontiguousarray(table)
    count, width = len(rows), rows[:1].nbytes
    out = np.empty((count, SHA256_BYTES), np.uint8)
    if HAS_OPENSSL:
        context = np.empty(_CONTEXT_BYTES, np.uint8)
        _hash_rows(context.ctypes.data, rows.ctypes.data, count, width, out.ctypes.data)
        return out
    content = rows.tobytes()
    for i in range(count):
        hashed = hashlib.sha256(content[i * width : (i + 1) * width])
        out[i] = np.frombuffer(hashed.digest(), np.uint8)
    return out


def sha1_each(before: bytes, texts: ByteStrings) -> NDArray[np.uint8]:
    """Return uint8[n, 20]: the SHA-1 of `before` followed by each text.

    >>> sha1_each(b"a", ByteStrings.of([b"bc"]))[0, :4].tobytes().hex()
    'a9993e36'
    """
    content, bounds = np.ascontiguousarray(texts.content_alone()), texts.bounds()
    out = np.empty((len(texts), SHA1_BYTES), np.uint8)
    if HAS_OPENSSL:
        context, first = np.empty(_CONTEXT_BYTES, np.uint8), np.frombuffer(before, np.uint8)
        _hash_each(context.ctypes.data, first.ctypes.data, len(before), content.ctypes.data, bounds,
                   out.ctypes.data)  # fmt: skip
        return out
    start = hashlib.sha1(before, usedforsecurity=False)
    for i in range(len(texts)):
        hashed = start.copy()
        hashed.update(content[bounds[i] : bounds[i + 1]].data)
        out[i] = np.frombuffer(hashed.digest(), np.uint8)
    return out


def chain_up(
    written: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    owners: NDArray[np.int64],
    heads: NDArray[np.uint8],
    gap: int,
) -> None:
    """Link texts to chains, in order: a text's link is SHA-256(head of its chain + text).

    Args:
        written: uint8, the buffer of all texts. Changed: the 64 hex digits of a text's link are
            written `gap` bytes behind the text's end.
        starts, ends: int64[n], the range of each text in `written`.
        owners: int64[n], the chain that each text belongs to.
        heads: uint8[k, 64], hex digits of each chain's last link. Changed: each link becomes the
            head of its chain.
        gap: bytes between a text and its link.
    """
    if HAS_OPENSSL:
        context, digest = np.empty(_CONTEXT_BYTES, np.uint8), np.empty(SHA256_BYTES, np.uint8)
        _chain(context.ctypes.data, digest, digest.ctypes.data, written, written.ctypes.data,
               starts, ends, owners, heads, heads.ctypes.data, gap)  # fmt: skip
        return
    for start, end, owner in zip(starts.tolist(), ends.tolist(), owners.tolist(), strict=True):
        hashed = hashlib.sha256(heads[owner].tobytes())
        hashed.update(written[start:end].data)
        heads[owner] = np.frombuffer(hashed.hexdigest().encode(), np.uint8)
        written[end + gap : end + gap + 2 * SHA256_BYTES] = heads[owner]


# Addresses are passed as whole numbers: OpenSSL wants pointers, and a kernel without reference
# counts can't slice an array.


@kernel
def _hash_rows(context, rows, count, width, out):  # type: ignore[no-untyped-def]
    for i in range(count):
        _sha256_init(context)
        _sha256_update(context, rows + i * width, width)
        _sha256_final(out + i * SHA256_BYTES, context)


@kernel
def _hash_each(context, before, size, content, bounds, out):  # type: ignore[no-untyped-def]
    for i in range(bounds.size - 1):
        _sha1_init(context)
        _sha1_update(context, before, size)
        _sha1_update(context, content + bounds[i], bounds[i + 1] - bounds[i])
        _sha1_final(out + i * SHA1_BYTES, context)


@kernel
def _chain(  # type: ignore[no-untyped-def]
    context, digest, digest_at, written, written_at, starts, ends, owners, heads, heads_at, gap
):
    for row in range(starts.size):
        owner = owners[row]
        _sha256_init(context)
        _sha256_update(context, heads_at + owner * 2 * SHA256_BYTES, 2 * SHA256_BYTES)
        _sha256_update(context, written_at + starts[row], ends[row] - starts[row])
        _sha256_final(digest_at, context)
        for i in range(2 * SHA256_BYTES):
            byte = digest[i >> 1]
            digit = byte & 15 if i & 1 else byte >> 4
            text = digit + (48 if digit < 10 else 87)
            heads[owner, i] = text
            written[ends[row] + gap + i] = text
