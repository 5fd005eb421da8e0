"""The arm of a claim, champion or canary: a keyed hash of its policy, in whole numbers.

    key    = first 16 bytes of SHA-256("arm" + digest of [name, layer, salt])
    u      = the first 8 bytes of SipHash-2-4-128(key, unit), as a big-endian number
    bucket = u * 1,000,000 >> 64

The champion has the buckets from 0 on, the canary those from the end: the champion's arm is
`bucket < 1,000,000 - share`. So a greater share moves nobody out of the canary. No clock, no
generator and no float takes part; a claim has the same arm in every worker and every replay.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.buffers.siphash import Key, hash_parts
from claimtrace.ids import digest_of

from .manifest import WHOLE_PPM, Canary

CHAMPION_ARM: Final = 0
CANARY_ARM: Final = 1
LAYER: Final = "models"
"""The one layer there is: units of two layers would be assigned independently."""


def arm_key(name: str, salt: str, layer: str = LAYER) -> Key:
    """Return the key of the units' hash, uint64[2].

    >>> arm_key("claims", "a").tolist() == arm_key("claims", "b").tolist()
    False
    """
    named = digest_of([name, layer, salt]).encode()
    return np.frombuffer(hashlib.sha256(b"arm" + named).digest()[:16], "<u8").astype(np.uint64)


def buckets(units: ByteStrings, key: Key) -> NDArray[np.int64]:
    """Return int64[n], the place of each unit among 1,000,000; -1 for an empty or missing one."""
    words = hash_parts(units.content_alone(), units.bounds(), key)
    u = words.byteswap()  # the hash's bytes are those of a little-endian word
    # 64 bits times 20 bits don't fit a word: the upper half, and what the lower half carries over
    half, ppm = np.uint64(32), np.uint64(WHOLE_PPM)
    lower = (u & np.uint64(2**32 - 1)) * ppm >> half
    found = ((u >> half) * ppm + lower >> half).astype(np.int64)
    return np.where(units.sizes > 0, found, -1)


def arms_of(units: ByteStrings, name: str, canary: Canary | None) -> NDArray[np.int64]:
    """Return int64[n], the arm of each claim: 1 for the canary's, else 0.

    Args:
        units: the normalised policy of each claim; one without a policy has the champion.
        name: that of the roll-out.
        canary: with its share and salt; None: all have the champion.

    >>> from claimtrace.decisions import ModelRef
    >>> units = ByteStrings.of([b"p-1", b"p-2", b"p-3", b"p-4", b"", None])
    >>> arms_of(units, "claims", Canary(ModelRef("claims", 2, ""), 500_000, "a")).tolist()
    [1, 0, 1, 0, 0, 0]
    """
    if canary is None or not len(units):
        return np.zeros(len(units), np.int64)
    from_bucket = WHOLE_PPM - canary.share_ppm
    return (buckets(units, arm_key(name, canary.salt)) >= from_bucket).astype(np.int64)
