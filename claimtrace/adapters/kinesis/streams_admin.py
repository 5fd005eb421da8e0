"""Describe, create and grow streams of Kinesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...clock import HOUR_MS, Clock
from ...errors import ConfigError, StoreUnavailable
from ...settings.schema import KinesisConnection
from ..aws.client import aws_client
from ..aws.errors import named_errors
from ..required_topics import FoundTopic, WantedTopic
from ..tables.choice import shared_table
from .stream import describe, find, stream_name

_COPIES: Final = 3
"""Kinesis keeps a record in three data centres before it acknowledges it."""
_ACTIVE_S, _LOOK_S = 120.0, 0.5
_AT_ONCE: Final = 5
"""Number of streams that AWS lets an account create at a time."""
_NEW_STREAM_HOURS: Final = 24


class KinesisStreams:
    """The streams with the common name in `source`, by their topics.

    Raises, from any method:
        ConfigError: credentials or rights are missing, or AWS refuses; the hint says how to fix it.
        StoreUnavailable: AWS doesn't answer, or a stream isn't active in time.
    """

    def __init__(self, connection: KinesisConnection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock
        self._client: Any = aws_client(connection.kinesis, "kinesis")
        self._table = shared_table(connection.kinesis)

    def found(self, topics: Sequence[str]) -> dict[str, FoundTopic]:
        """Return those streams that exist; their open shards count as partitions."""
        existing: dict[str, FoundTopic] = {}
        for topic in topics:
            found = find(self._client, stream_name(self._connection, topic))
            if found is not None:
                kept = {"retention.ms": str(found.retention_ms)}
                existing[topic] = FoundTopic(topic, found.identity, found.shards, _COPIES, kept)
        return existing

    def create(self, topics: Sequence[WantedTopic], *, only_check: bool = False) -> None:
        """Create streams and wait until they are active; `only_check` creates nothing."""
        if only_check:
            return
        for start in range(0, len(topics), _AT_ONCE):
            some = topics[start : start + _AT_ONCE]
            for topic in some:
                name = stream_name(self._connection, topic.name)
                with named_errors("can't make the stream", name):
                    self._client.create_stream(StreamName=name, ShardCount=topic.partitions)
            for topic in some:
                self._keep(topic)

    def _keep(self, topic: WantedTopic) -> None:
        """Raise a new stream's retention from AWS' 24 hours to the wanted one."""
        name = stream_name(self._connection, topic.name)
        self._wait(name)
        hours = int(topic.config["retention.ms"]) // HOUR_MS
        if hours > _NEW_STREAM_HOURS:
            with named_errors("can't have the stream keep records longer", name):
                self._client.increase_stream_retention_period(
                    StreamName=name, RetentionPeriodHours=hours
                )
            self._wait(name)

    def grow(self, counts: Mapping[str, int]) -> None:
        """Split shards until a topic's stream has the count given for it."""
        for topic, count in counts.items():
            name = stream_name(self._connection, topic)
            with named_errors("can't split shards", name):
                self._client.update_shard_count(
                    StreamName=name, TargetShardCount=count, ScalingType="UNIFORM_SCALING"
                )
            self._wait(name)

    def create_table(self) -> str:
        """Create the table of the settings.

        Returns:
            `made`, or `there` when it existed already; empty when the settings name no table.
        """
        if self._table is None:
            return ""
        return "made" if self._table.create(self._clock) else "there"

    def check_table(self) -> None:
        """Check that the table of the settings exists, if they name one.

        Raises:
            ConfigError: the table doesn't exist.
        """
        if self._table is not None and not self._table.is_there():
            raise ConfigError("the table isn't there", where=self._table.name,
                              hint="run `claimtrace topics create`")  # fmt: skip

    def _wait(self, name: str) -> None:
        until_s = self._clock.monotonic_s() + _ACTIVE_S
        while not describe(self._client, name).is_active:
            if self._clock.monotonic_s() > until_s:
                what = f"the stream isn't ready after {_ACTIVE_S:.0f} s"
                raise StoreUnavailable(what, where=name)
            self._clock.sleep(_LOOK_S)
