"""What a shard of Kinesis gives to those who poll it, and when they should be pushed to instead.

All polling readers of a shard share five reads and 2 MB a second; a shard takes in 1 MB a second.
So two workers always find room, and more do while shards are not full. A consumer with enhanced
fan-out has 2 MB a second of its own.

The limits: Amazon Kinesis Data Streams, Developer Guide, "Quotas and limits".
"""

from __future__ import annotations

from typing import Final, NamedTuple

READS_A_SECOND: Final = 5.0
BYTES_A_SECOND: Final = 2_000_000
_ROOM: Final = 0.8
"""Of the bytes, so that a worker that was away can catch up."""
_LONGEST_S: Final = 1.0


class ReadCapacity(NamedTuple):
    """How polling workers stand to the limits of the fullest shard."""

    every_s: float
    """Each worker reads a shard so often."""
    share: float
    """Of the bytes that the shard gives away a second, all workers together."""
    needs_fan_out: bool


def read_capacity(workers: int, bytes_a_second: float) -> ReadCapacity:
    """How so many workers read shards, the fullest of which takes in so much.

    >>> read_capacity(2, 1_000_000)
    Reading(every_s=0.4, share=1.0, needs_fan_out=False)
    >>> read_capacity(3, 900_000).needs_fan_out, read_capacity(3, 200_000).needs_fan_out
    (True, False)
    >>> read_capacity(6, 0).needs_fan_out
    True
    """
    every_s, share = workers / READS_A_SECOND, workers * bytes_a_second / BYTES_A_SECOND
    is_tight = workers > 2 and share > _ROOM  # two have enough whatever comes
    return ReadCapacity(every_s, share, is_tight or every_s > _LONGEST_S)
