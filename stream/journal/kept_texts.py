"""The texts of definitions and rules that a journal keeps, found again by their digests.

A decision names the definitions and rules that it was made under by their digests. The texts are in
the terms of a journal that was begun with them; otherwise in a plan, of a worker that started later
or of the upgrade. They go wherever terms and plans go: a file, a topic, a table.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from claimtrace.errors import StateError
from claimtrace.ids import digest

from .plan import Plan
from .terms import Terms

MOST_PACKED: Final = 128 * 1024
"""Characters of all packed texts of a journal: an item of a table holds at most 400 KB."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a text; a packed one that would be longer is refused."""


def packed(texts: Iterable[bytes]) -> dict[str, str]:
    """Compress texts for a journal, by digest.

    A text is left out if it would take the sum above `MOST_PACKED`: a journal works without it.

    >>> [unpacked(key, value) for key, value in packed([b"[1]", b"[2]"]).items()]
    [b'[1]', b'[2]']
    """
    found: dict[str, str] = {}
    left = MOST_PACKED
    for text in texts:
        written = base64.b64encode(zlib.compress(text, 9)).decode()
        if len(text) <= MOST_BYTES and len(written) <= left:
            found[digest(text)] = written
            left -= len(written)
    return found


def unpacked(name: str, written: str) -> bytes:
    """Return the text that was packed under a digest.

    Args:
        name: the digest, 64 hex digits.
        written: as a journal has it, which may be anything.

    Raises:
        StateError: it is too long, damaged, or the text of another digest.
    """
    try:
        stream = zlib.decompressobj()
        text = stream.decompress(base64.b64decode(written, validate=True), MOST_BYTES)
    except (binascii.Error, ValueError, zlib.error):
        text = b""
    if digest(text) != name:
        raise StateError(
            f"the text kept under the digest {name[:16]} is not the text of this digest",
            where="journal",
            hint="restore the journal from a copy; decisions don't depend on the text",
        )
    return text


def kept_texts(terms: Terms, plans: Iterable[Plan]) -> Iterator[tuple[str, str]]:
    """Yield digests and packed texts of a journal, those of its terms first, each digest once."""
    seen: set[str] = set()
    for texts in _all_texts(terms, plans):
        for name, written in texts.items():
            if name not in seen:
                seen.add(name)
                yield name, written


def _all_texts(terms: Terms, plans: Iterable[Plan]) -> Iterator[Mapping[str, str]]:
    yield terms.texts
    for plan in plans:
        yield plan.texts
