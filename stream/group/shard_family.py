"""The shards of a stream as a family: a child is read after all of its parents.

Kinesis splits a shard in two or merges two into one; the parents end, and what has the same key
goes on in a child. Keys keep their order if a child is begun when its parents are done with: read
to their end, and all that was read is in plans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import NamedTuple

from claimtrace.errors import StateError

_NUMBERED = re.compile(r"shardId-(\d{1,18})")


class Shard(NamedTuple):
    """A shard as the stream lists it, with the keys whose hash is in `[first_hash, last_hash]`."""

    number: int
    parents: tuple[int, ...] = ()
    first_hash: int = 0
    last_hash: int = 2**128 - 1
    is_closed: bool = False


def number_of(shard_id: str) -> int:
    """The number in a shard's id; it stands for the partition.

    Raises:
        StateError: the id has none.

    >>> number_of("shardId-000000000012"), id_of(12)
    (12, 'shardId-000000000012')
    """
    found = _NUMBERED.fullmatch(shard_id)
    if found is None:
        raise StateError(f"{shard_id!r} is no shard's id as we know them", where="source")
    return int(found[1])


def id_of(number: int) -> str:
    """The id of a shard."""
    return f"shardId-{number:012d}"


class Family:
    """The shards of one stream, and which of them are done with.

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
        """All that are listed."""
        return self._shards.keys()

    def parents(self, number: int) -> tuple[int, ...]:
        """Those that a shard came from."""
        return self._shards[number].parents

    @property
    def readable(self) -> set[int]:
        """Those that may be read and aren't done with.

        A parent that isn't listed is gone: retention took it, and nothing of it can come any more.
        """
        return {
            number
            for number, shard in self._shards.items()
            if number not in self._finished
            and all(p in self._finished or p not in self._shards for p in shard.parents)
        }

    def learn(self, listed: Iterable[Shard]) -> set[int]:
        """Take what the stream lists now; returns those that are gone although they weren't done
        with."""
        now = {shard.number: shard for shard in listed}
        lost = self._shards.keys() - now.keys() - self._finished
        self._shards = now
        return lost

    def finish(self, number: int) -> None:
        """A shard is done with: it has ended, and all of it is in plans."""
        self._finished.add(number)

    @property
    def finished(self) -> Set[int]:
        """Those that were said to be done with."""
        return self._finished

    def is_finished(self, number: int) -> bool:
        """Whether it was said to be."""
        return number in self._finished
