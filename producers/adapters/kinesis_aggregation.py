"""Several small records in one of Kinesis', in the form of Amazon's producer library.

A shard takes a thousand records a second, however small they are; packed, it takes a megabyte. A
packed record goes to one shard, so only what belongs to the same one is packed together.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from claimtrace.adapters.kinesis.fast_json import Entry
from claimtrace.adapters.kinesis.kpl_aggregation import Part, aggregated, aggregated_bytes
from claimtrace.clock import Clock

MAX_PACKED_BYTES: Final = 50 << 10
"""As Amazon's library: small enough that one lost record is no disaster."""
_SHARDS_EVERY_S: Final = 10.0


class Aggregation:
    """Packs records by the shard that their keys fall on.

    Args:
        first_hashes: of a stream, the first hash of each shard that is open now.
        clock: for asking again. Keys that fall elsewhere since are read all the same, but for a
            moment not in order with their others.
    """

    def __init__(self, first_hashes: Callable[[str], Sequence[int]], clock: Clock) -> None:
        self._first_hashes, self._clock = first_hashes, clock
        self._known: dict[str, tuple[float, list[int]]] = {}

    def entries(self, name: str, records: Sequence[tuple[str, bytes]]) -> list[tuple[Entry, int]]:
        """Records with how many each holds, in order for each shard."""
        firsts = self._firsts(name)
        packs: dict[int, list[Part]] = {}
        sizes: dict[int, int] = {}
        made: list[tuple[Entry, int]] = []
        for key, value in records:
            first = firsts[bisect_right(firsts, hash_of(key)) - 1]
            size = aggregated_bytes(1, 1, len(key.encode()) + len(value))
            pack = packs.setdefault(first, [])
            if pack and sizes[first] + size > MAX_PACKED_BYTES:
                made.append(_packed(first, pack))
                pack = packs[first] = []
                sizes[first] = 0
            pack.append(Part(key, value))
            sizes[first] = sizes.get(first, 0) + size
        return made + [_packed(first, pack) for first, pack in packs.items() if pack]

    def _firsts(self, name: str) -> list[int]:
        now_s = self._clock.monotonic_s()
        known = self._known.get(name)
        if known is None or now_s - known[0] > _SHARDS_EVERY_S:
            known = self._known[name] = now_s, sorted(self._first_hashes(name))
        return known[1]


def hash_of(key: str) -> int:
    """Where a partition key falls: the MD5 as a number of 128 bits.

    >>> hash_of("a") == 0x0cc175b9c0f1b6a831c399e269772661
    True
    """
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest(), "big")


def _packed(first: int, pack: Sequence[Part]) -> tuple[Entry, int]:
    if len(pack) == 1:
        return Entry(pack[0].value, pack[0].key), 1
    return Entry(aggregated(pack), pack[0].key, str(first)), len(pack)
