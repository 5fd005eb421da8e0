"""The Confluent wire format: the id of a value's schema, in front of the value.

    byte 0      0, the magic byte
    bytes 1-4   id of the schema in the registry, big-endian
    then        the payload: JSON as it is, or Avro's binary encoding

A JSON text never starts with byte 0, so plain and framed values can share a topic. The newer form
that carries a schema's GUID in a header, or after magic byte 1, is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..refusals import Refusal

FRAME_BYTES: Final = 5
MAX_SCHEMA_ID: Final = 2**31 - 1
"""Registries number schemas with signed 32-bit integers: a larger id was never assigned."""
MAX_SCHEMA_BYTES: Final = 256 * 1024
"""Maximum size of one schema's text; those of events have a few kB."""

Plain = Callable[[int, bytes], bytes | Refusal]
"""A function from a schema's id and a payload to the event as plain JSON, or to a refusal."""


def schema_id(value: bytes) -> int | None:
    """Return the schema id in front of a framed value; `None` when the value isn't framed.

    >>> schema_id(bytes([0, 0, 0, 1, 2]) + b"{}")
    258
    >>> schema_id(b"{}") is None
    True
    """
    if len(value) < FRAME_BYTES or value[0] != 0:
        return None
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def frame(number: int, payload: bytes) -> bytes:
    """Return a payload with the id of its schema in front.

    Raises:
        ValueError: the number is out of the range of schema ids.

    >>> frame(258, b"{}")
    b'\\x00\\x00\\x00\\x01\\x02{}'
    """
    if not 0 <= number <= MAX_SCHEMA_ID:
        raise ValueError(f"not a schema id: {number}")
    return b"\0" + number.to_bytes(4, "big") + payload
