"""Read limits of a Kinesis shard, and when polling workers should use enhanced fan-out instead.

All polling readers of a shard share five reads and 2 MB a second; a shard takes in 1 MB a second.
So polling suffices for two workers always, and for more while shards are not full. A consumer with
enhanced fan-out has 2 MB a second of its own.

The limits: Amazon Kinesis Data Streams, Developer Guide, "Quotas and limits".
"""

from __future__ import annotations

from typing import Final, NamedTuple

READS_A_SECOND: Final = 5.0
BYTES_A_SECOND: Final = 2_000_000
_ROOM: Final = 0.8
"""Share of the read limit that may be used; the rest lets a worker that was down catch up."""
_LONGEST_S: Final = 1.0


class ReadCapacity(NamedTuple):
    """Use of the read limits of the busiest shard by polling workers."""

    every_s: float
    """Interval at which each worker reads a shard."""
    share: float
    """Share of the shard's read limit in bytes that all workers use together."""
    needs_fan_out: bool


def read_capacity(workers: int, bytes_a_second: float) -> ReadCapacity:
    """Return polling interval and share of the read limit.

    Args:
        workers: number of polling workers, each of which reads every shard.
        bytes_a_second: incoming bytes of the busiest shard.

    >>> read_capacity(2, 1_000_000)
    ReadCapacity(every_s=0.4, share=1.0, needs_fan_out=False)
    >>> read_capacity(3, 900_000).needs_fan_out, read_capacity(3, 200_000).needs_fan_out
    (True, False)
    >>> read_capacity(6, 0).needs_fan_out
    True
    """
    every_s, share = workers / READS_A_SECOND, workers * bytes_a_second / BYTES_A_SECOND
    is_tight = workers > 2 and share > _ROOM  # two can always read all that a shard takes in
    return ReadCapacity(every_s, share, is_tight or every_s > _LONGEST_S)
