"""Write records to Kinesis streams, hundreds in a call, one call at a time for each stream.

**Order.** A call may accept some of its records and refuse others (of a throttled shard); only the
refused ones are retried, after the others of the call. So records of one key keep their order
unless one of them was refused: Kinesis offers no more for calls with several records. Where order
matters the records themselves carry it: decisions have positions, events have times.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from claimtrace.adapters.aws.client import aws_client
from claimtrace.adapters.aws.errors import named_errors
from claimtrace.adapters.kinesis.fast_json import Entry, FastKinesis
from claimtrace.adapters.kinesis.header_envelope import wrapped
from claimtrace.adapters.kinesis.stream import stream_name
from claimtrace.backoff import Backoff
from claimtrace.clock import Clock
from claimtrace.decisions import DEAD_TOPIC
from claimtrace.errors import ClaimtraceError, ConfigError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KinesisConnection

from .kinesis_aggregation import Aggregation

MAX_ENTRIES: Final = 500
MAX_CALL_BYTES: Final = 5 << 20
MAX_ENTRY_BYTES: Final = 1 << 20
"""Including the partition key. The default of a stream, which can be configured to accept more."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_ROOM: Final = 50_000
"""Entries that may wait for one stream; with more `send` raises `StoreUnavailable`."""


class _Waiting(NamedTuple):
    entry: Entry
    size: int
    records: int


class KinesisSink:
    """A `Sink` on Kinesis streams; one thread for each stream makes its calls.

    Args:
        connection: stream names, endpoint, and whether to aggregate records.
        clock: for deadlines.
        client: of boto3; None: one made from the settings.
        jitter: draws the fraction of each back-off pause that is waited, so that many producers
            don't retry at the same time.
    """

    def __init__(
        self,
        connection: KinesisConnection,
        clock: Clock,
        client: Any = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client or aws_client(connection.kinesis, "kinesis")
        self._wire, self._connection = FastKinesis(self._client), connection
        self._clock, self._jitter = clock, jitter
        self._aggregation = None
        if connection.kinesis.aggregate:
            self._aggregation = Aggregation(self._first_hashes, clock)
        self._lanes: dict[str, _Lane] = {}
        self._taken = 0

    @property
    def acknowledged(self) -> int:
        """Number of records that the streams have accepted; never an overestimate."""
        return sum(lane.acknowledged for lane in self._lanes.values())

    @property
    def unacknowledged(self) -> int:
        """Number of records that were sent and are not in their stream yet."""
        return self._taken - self.acknowledged

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Accept records; returns before they are in their streams.

        Raises:
            ConfigError: a record is too large, or an earlier call failed permanently.
            StoreUnavailable: too many records wait; none of these was accepted.
        """
        self.check()
        topics: dict[str, list[tuple[str, bytes]]] = {}
        for topic, partition, key, value, _, headers in outgoing:
            text = key.decode(errors="replace")[:256] if key else str(partition)
            content = wrapped(value, headers) if topic == DEAD_TOPIC else value or b""
            topics.setdefault(topic, []).append((text, content))
        lanes = [
            (self._lane(stream_name(self._connection, topic)), r) for topic, r in topics.items()
        ]
        # checks and encoding come before the first `take`, so that all are accepted or none
        for lane, _ in lanes:
            lane.must_have_room()
        for lane, entries in [(lane, self._entries(lane.name, records)) for lane, records in lanes]:
            lane.take(entries)
        self._taken += len(outgoing)

    def flush(self, deadline_s: float) -> None:
        """Wait until all accepted records are in their streams.

        Raises:
            StoreUnavailable: not in time; the waiting records are kept: flush again.
            ConfigError: a call failed permanently; its records are kept.
        """
        until_s = self._clock.monotonic_s() + deadline_s
        for lane in self._lanes.values():
            lane.wait(max(0.0, until_s - self._clock.monotonic_s()))
        self.check()
        if self.unacknowledged:
            why = next((lane.trouble for lane in self._lanes.values() if lane.trouble), "")
            raise StoreUnavailable(
                f"{self.unacknowledged:,} records wait after {deadline_s:g} s"
                + (why and f": {why}"),
                where=", ".join(self._lanes),
            )

    def check(self) -> None:
        """Raise a permanent error of a call since the last check."""
        for lane in self._lanes.values():
            lane.check()

    def close(self) -> None:
        """Send waiting records for up to 2 s, and end the threads. Never raises."""
        with suppress(ClaimtraceError):  # a caller that must know flushes before
            self.flush(_LONGEST_PAUSE_S)
        for lane in self._lanes.values():
            lane.close()

    def _lane(self, name: str) -> _Lane:
        if name not in self._lanes:
            self._lanes[name] = _Lane(self._wire, name, self._clock, self._jitter)
        return self._lanes[name]

    def _first_hashes(self, name: str) -> list[int]:
        """List the first hash key of each open shard."""
        with named_errors("can't list the shards", name):
            pages = self._client.get_paginator("list_shards").paginate(StreamName=name)
            listed = [shard for page in pages for shard in page["Shards"]]
        return [
            int(shard["HashKeyRange"]["StartingHashKey"])
            for shard in listed
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        ]

    def _entries(self, name: str, records: list[tuple[str, bytes]]) -> list[_Waiting]:
        if self._aggregation is not None:
            made = self._aggregation.entries(name, records)
        else:
            made = [(Entry(value, key), 1) for key, value in records]
        waiting = []
        for entry, count in made:
            size = len(entry.Data) + len(entry.PartitionKey.encode())
            if size > MAX_ENTRY_BYTES:
                raise ConfigError(
                    f"a record of {size:,} bytes is larger than a stream accepts", where=name,
                    hint="send less in one event",
                )  # fmt: skip
            waiting.append(_Waiting(entry, size, count))
        return waiting


class _Lane:
    """The queue and the thread of one stream."""

    def __init__(
        self, wire: FastKinesis, name: str, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        self._wire, self.name, self._clock, self._jitter = wire, name, clock, jitter
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._error: ClaimtraceError | None = None
        self._is_closed = False
        self.acknowledged = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"to {name}")
        self._thread.start()

    def must_have_room(self) -> None:
        with self._changed:
            if len(self._waiting) > _ROOM:
                raise StoreUnavailable(
                    "the stream accepts fewer records than are sent"
                    + (self.trouble and f": {self.trouble}"),
                    where=self.name,
                )

    def take(self, entries: Sequence[_Waiting]) -> None:
        with self._changed:
            self._waiting.extend(entries)
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._error, timeout=seconds)

    def check(self) -> None:
        with self._changed:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        backoff, pause_s = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), 0.0
        while True:
            with self._changed:
                if pause_s:
                    self._changed.wait_for(
                        lambda: self._is_closed, timeout=pause_s * self._jitter()
                    )
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                call = self._next_call()
            # the call's entries stay in the queue meanwhile, so that `flush` waits for them
            refused = self._put(call)
            with self._changed:
                if self._is_closed:
                    return
                for _ in call:
                    self._waiting.popleft()
                self._waiting.extendleft(reversed(refused))
                gone = sum(each.records for each in call) - sum(each.records for each in refused)
                self.acknowledged += gone
                self._changed.notify_all()
            pause_s = backoff.next_s() if refused else 0.0
            if not refused:
                backoff.reset()

    def _next_call(self) -> list[_Waiting]:
        call: list[_Waiting] = []
        size = 0
        for each in self._waiting:
            size += each.size
            if call and (len(call) == MAX_ENTRIES or size > MAX_CALL_BYTES):
                break
            call.append(each)
        return call

    def _put(self, call: Sequence[_Waiting]) -> list[_Waiting]:
        """Make one call; returns the entries to retry, all of them after an error of the call."""
        try:
            with named_errors("can't write", self.name):
                codes = self._wire.put_records(self.name, [each.entry for each in call])
        except ClaimtraceError as error:
            self.trouble = error.what
            if error.retryable:
                return list(call)
            with self._changed:
                self._error = error
            return list(call)
        failed = [code for code in codes if code is not None]
        self.trouble = failed[0] if failed else ""
        return [each for each, code in zip(call, codes, strict=True) if code is not None]
