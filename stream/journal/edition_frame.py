"""The frame around what belongs to a later edition, which versions from before editions refuse.

    {"edition": 2, "needs": "0.2.0", "plan": {...}}
    {"edition": 2, "needs": "0.2.0", "terms": {...}}

An older version would skip a field that it doesn't know; in place of its own fields it finds this.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from claimtrace.editions import check_known, since


class _Frame(msgspec.Struct):
    edition: int
    needs: str = ""
    plan: msgspec.Raw = msgspec.Raw()
    terms: msgspec.Raw = msgspec.Raw()


_BEGIN: Final = b'{"edition":'
_encode: Final = msgspec.json.Encoder().encode
_frames: Final = msgspec.json.Decoder(_Frame)


def framed(kind: Literal["plan", "terms"], content: object, edition: int) -> bytes:
    """Encode a plan or terms inside of the frame of an edition."""
    return _encode({"edition": edition, "needs": since(edition), kind: content})


def unframed(written: bytes, where: str) -> tuple[int, bytes]:
    """Return the edition, 0 without a frame, and the bytes inside.

    Raises:
        msgspec.DecodeError: this is no frame, though it begins like one.
        StateError: this version doesn't know the edition.

    >>> unframed(framed("plan", {"number": 8}, 2), "journal"), unframed(b'{"number":7}', "journal")
    ((2, b'{"number":8}'), (0, b'{"number":7}'))
    """
    if not written.startswith(_BEGIN):
        return 0, written
    frame = _frames.decode(written)
    check_known(frame.edition, frame.needs, where)
    return frame.edition, bytes(frame.plan) or bytes(frame.terms)
