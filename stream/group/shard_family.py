"""The lineage of a stream's shards: a child is read after all of its parents.

Kinesis splits a shard in two or merges two into one; the parents end, and later records of a key go
to a child. The records of a key stay in order if a child is begun when its parents are finished:
read to their end, with all of their records in plans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import NamedTuple

from claimtrace.errors import StateError

_NUMBERED = re.compile(r"shardId-(\d{1,18})")


class Shard(NamedTuple):
    """A shard as the stream lists it; its keys have hashes in `[first_hash, last_hash]`."""

    number: int
    parents: tuple[int, ...] = ()
    first_hash: int = 0
    last_hash: int = 2**128 - 1
    is_closed: bool = False


def number_of(shard_id: str) -> int:
    """Return the number in a shard's id, which is used as the partition.

    Raises:
        StateError: the id isn't of Kinesis' form.

    >>> number_of("shardId-000000000012"), id_of(12)
    (12, 'shardId-000000000012')
    """
    found = _NUMBERED.fullmatch(shard_id)
    if found is None:
        raise StateError(f"{shard_id!r} is no shard's id of the known form", where="source")
    return int(found[1])


def id_of(number: int) -> str:
    """Return the id of a shard."""
    return f"shardId-{number:012d}"


class Family:
    """The shards of one stream, and which of them are finished.

    >>> family = Family()
    >>> family.learn([Shard(0), Shard(1, parents=(0,)), Shard(2, parents=(0,))])
    set()
    >>> sorted(family.readable)
    [0]
    >>> family.finish(0)
    >>> sorted(family.readable)
    [1, 2]
    """

    def __init__(self) -> None:
        self._shards: dict[int, Shard] = {}
        self._finished: set[int] = set()

    @property
    def numbers(self) -> Set[int]:
        """All shards that are listed."""
        return self._shards.keys()

    def parents(self, number: int) -> tuple[int, ...]:
        """Return the shards that a shard came from by a split or a merge."""
        return self._shards[number].parents

    @property
    def readable(self) -> set[int]:
        """The shards that may be read and aren't finished: all of their parents are.

        A parent that isn't listed counts as finished: retention removed it, and no record of it
        can be read any more.
        """
        return {
            number
            for number, shard in self._shards.items()
            if number not in self._finished
            and all(p in self._finished or p not in self._shards for p in shard.parents)
        }

    def learn(self, listed: Iterable[Shard]) -> set[int]:
        """Take over what the stream lists now; returns shards that disappeared unfinished."""
        now = {shard.number: shard for shard in listed}
        lost = self._shards.keys() - now.keys() - self._finished
        self._shards = now
        return lost

    def finish(self, number: int) -> None:
        """Mark a shard as finished: it has ended, and all of its records are in plans."""
        self._finished.add(number)

    @property
    def finished(self) -> Set[int]:
        """The shards that were marked as finished."""
        return self._finished

    def is_finished(self, number: int) -> bool:
        """Whether a shard was marked as finished."""
        return number in self._finished
