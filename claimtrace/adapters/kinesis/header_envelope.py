"""Headers on Kinesis, which has none: a JSON object with the value and its headers.

Only dead letters need headers (they hold the reason). All other records are written unchanged,
without their headers.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ...events import Headers

_MARK: Final = b'{"claimtrace_headers":'


class _Wrapped(msgspec.Struct):
    claimtrace_headers: list[tuple[str, bytes]]
    value: bytes | None


_decode = msgspec.json.Decoder(_Wrapped).decode


def wrapped(value: bytes | None, headers: Headers) -> bytes:
    """Return a value with its headers; without headers the value itself (no value: no bytes).

    >>> wrapped(b"{}", (("reason", b"bad_json"),))
    b'{"claimtrace_headers":[["reason","YmFkX2pzb24="]],"value":"e30="}'
    >>> wrapped(b"{}", ())
    b'{}'
    """
    if headers:
        return msgspec.json.encode(_Wrapped(list(headers), value))
    return value or b""


def unwrapped(content: bytes) -> tuple[bytes | None, Headers]:
    """Return the value and the headers of a record's content.

    >>> unwrapped(wrapped(b"{}", (("reason", b"bad_json"),))), unwrapped(b"[1]"), unwrapped(b"")
    ((b'{}', (('reason', b'bad_json'),)), (b'[1]', ()), (None, ()))
    """
    if content.startswith(_MARK):
        try:
            found = _decode(content)
        except msgspec.DecodeError:
            return content, ()
        return found.value, tuple(found.claimtrace_headers)
    return content or None, ()
