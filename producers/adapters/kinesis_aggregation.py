"""Aggregate several small records into one Kinesis record, in the format of Amazon's KPL.

A shard accepts a thousand records a second, however small they are; with aggregation a megabyte. An
aggregated record goes to one shard, so only records of the same shard are aggregated.
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
"""The limit of Amazon's library as well: little is lost with one broken record."""
_SHARDS_EVERY_S: Final = 10.0


class Aggregation:
    """Aggregates records by the shard that their partition keys hash to.

    Args:
        first_hashes: returns the first hash key of each open shard of a stream.
        clock: the shards are listed again every 10 s. After a reshard, records of a key that moved
            are still read, but until then not in order with the key's other records.
    """

    def __init__(self, first_hashes: Callable[[str], Sequence[int]], clock: Clock) -> None:
        self._first_hashes, self._clock = first_hashes, clock
        self._known: dict[str, tuple[float, list[int]]] = {}

    def entries(self, name: str, records: Sequence[tuple[str, bytes]]) -> list[tuple[Entry, int]]:
        """Make entries of records, each with its number of records, in order for each shard."""
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
    """Hash a partition key as Kinesis does: the MD5 as a number of 128 bits.

    >>> hash_of("a") == 0x0cc175b9c0f1b6a831c399e269772661
    True
    """
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest(), "big")


def _packed(first: int, pack: Sequence[Part]) -> tuple[Entry, int]:
    if len(pack) == 1:
        return Entry(pack[0].value, pack[0].key), 1
    return Entry(aggregated(pack), pack[0].key, str(first)), len(pack)
