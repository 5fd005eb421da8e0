"""The workers of one journal as a Kafka consumer group.

The group assigns the input partitions and the journal's partition. Its consumer fetches no records:
every worker reads all partitions by position (`stream.adapters.kafka.source`). A worker commits
offsets, for the tools that people know, with the `Checkpoint` as each offset's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import Any, Final

import msgspec
from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
)
from confluent_kafka import (
    TopicPartition as KafkaPartition,
)

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import Fenced, error_of
from claimtrace.clock import Clock, duration_ms
from claimtrace.decisions import DECISIONS_TOPIC, JOURNAL_TOPIC, chain_of, claim_position_of
from claimtrace.errors import StateError, StoreUnavailable, Superseded
from claimtrace.settings.schema import KafkaConnection

from ...group.group import Checkpoint, Tail
from ...journal.plan import JOURNAL, TopicPartition
from .output import KafkaOutput
from .reading import ends_of, reader, resource_of, topic_partitions_of

_TIMEOUT_S: Final = 10.0
_PARTITIONS_EVERY_S: Final = 30.0
_TAIL_RECORDS: Final = 4_000
"""How many of a partition's last records are searched first for the tail: more than a worker that
was replaced can have repeated at the end."""

_RETRY_LATER: Final = (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
_checkpoints = msgspec.json.Decoder(Checkpoint)


class KafkaGroup:
    """A member of a consumer group.

    Args:
        connection: brokers, security, the group and its protocol.
        topics: the input topics.
        clock: for deadlines, and for when to list the partitions again.
        output: commits the offsets in its transaction when it is transactional.
    """

    def __init__(
        self, connection: KafkaConnection, topics: Sequence[str], clock: Clock, output: KafkaOutput
    ) -> None:
        self._topics, self._clock, self._output = tuple(topics), clock, output
        self._name, self._user = connection.kafka.group, connection.security.username
        self._troubles = BrokerErrors(connection)
        self._connection = connection
        self._consumer: Any = connect(Consumer, _member_config(connection, self._troubles))
        self._assigned: set[TopicPartition] = set()
        self._is_member = False
        self._drain: Callable[[Set[TopicPartition]], None] = lambda _: None
        self._topic_partitions: set[TopicPartition] = set()
        self._partitions_at_s = -_PARTITIONS_EVERY_S

    def topic_partitions(self) -> Set[TopicPartition]:
        """Return all topic-partitions that the group assigns; listed anew every 30 s."""
        now_s = self._clock.monotonic_s()
        if not self._topic_partitions or now_s - self._partitions_at_s > _PARTITIONS_EVERY_S:
            self._topic_partitions = set(
                topic_partitions_of(self._consumer, self._topics, self._troubles)
            ) | {JOURNAL}
            self._partitions_at_s = now_s
        return self._topic_partitions

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:
        """Poll the group as a member; returns the topic-partitions that this worker owns now."""
        self._drain = drain
        if not self._is_member:
            self._consumer.subscribe(
                [*self._topics, JOURNAL_TOPIC],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            self._is_member = True
        # heartbeats and rebalance callbacks run inside this call; it never returns a record, as
        # all partitions are paused
        arrived = self._consumer.poll(0)
        self._troubles.check()
        if arrived is not None and arrived.error() is not None:
            self._handle_error(arrived.error(), arrived.topic() or self._name)
        return self._assigned

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """Return the committed checkpoints; topic-partitions without one are left out."""
        return {
            (each.topic, each.partition): self._checkpoint(each)
            for each in self._committed(topic_partitions)
        }

    def offsets(self, topic_partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the committed offsets; topic-partitions without one are left out."""
        return {
            (each.topic, each.partition): each.offset for each in self._committed(topic_partitions)
        }

    def _committed(self, topic_partitions: Collection[TopicPartition]) -> list[KafkaPartition]:
        if not topic_partitions:
            return []
        asked = [KafkaPartition(*topic_partition) for topic_partition in sorted(topic_partitions)]
        try:
            found = self._consumer.committed(asked, timeout=_TIMEOUT_S)
        except KafkaException as error:
            self._troubles.check()
            raise error_of(error.args[0], "can't read the group's offsets", self._name,
                           user=self._user, operation="Read") from error  # fmt: skip
        for each in found:
            if each.error is not None:
                where = resource_of(each.error, each.topic, self._name)
                raise error_of(each.error, "can't read the group's offsets", where,
                               user=self._user, operation="Read")  # fmt: skip
        return [each for each in found if each.offset >= 0]

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        """Commit the positions, with the checkpoints as metadata; False during a rebalance.

        Raises:
            Superseded: another worker owns one of the topic-partitions now.
            ConfigError, StoreUnavailable: the brokers refuse the commit, or don't answer.
        """
        offsets = [
            KafkaPartition(
                *topic_partition,
                max(positions.get(topic_partition, 0), 0),
                msgspec.json.encode(checkpoint).decode(),
            )
            for topic_partition, checkpoint in sorted(checkpoints.items())
        ]
        if self._output.is_transactional:
            self._output.commit(offsets, self._consumer.consumer_group_metadata())
            return True
        error = self._commit(offsets)
        if error is None:
            return True
        where = self._name
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            where = self._refused_topic(offsets)
        return self._handle_commit_error(error, where)

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:
        """Return the last decisions on these partitions; partitions without any are left out."""
        tails: dict[int, Tail] = {}
        if not partitions:
            return tails
        consumer = reader(self._connection, self._troubles)
        try:
            for partition in sorted(partitions):
                tail = self._tail(consumer, partition)
                if tail is not None:
                    tails[partition] = tail
        finally:
            consumer.close()
        return tails

    def leave(self) -> None:
        """Leave the group, so that its other members get the partitions at once."""
        self._drain = lambda _: None  # closing revokes everything: the driver has drained before
        self._consumer.close()

    def _tail(self, consumer: Any, partition: int) -> Tail | None:
        """Return the decision with the highest claim position among the last records.

        Searches further back, in growing steps, when the last offsets hold no decision: they may
        be transaction markers or aborted records.
        """
        topic_partition = DECISIONS_TOPIC, partition
        low, end = ends_of(consumer, self._troubles, topic_partition, self._user)
        back = _TAIL_RECORDS
        while True:
            start = max(low, end - back)
            found = self._highest(consumer, partition, start, end)
            if found is not None or start <= low:
                return found
            back *= 8

    def _highest(self, consumer: Any, partition: int, start: int, end: int) -> Tail | None:
        """Return the decision with the highest claim position from offset `start` on.

        A worker that was replaced may have repeated old decisions at the end, so the last record
        need not be the one with the highest position.
        """
        if start >= end:
            return None
        consumer.assign([KafkaPartition(DECISIONS_TOPIC, partition, start)])
        best: Tail | None = None
        until_s = self._clock.monotonic_s() + _TIMEOUT_S
        while self._clock.monotonic_s() < until_s:
            for arrived in consumer.consume(_TAIL_RECORDS, 0.1):
                error = arrived.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    return best
                if error is not None:
                    if error.retriable():
                        continue
                    where = resource_of(error, DECISIONS_TOPIC, self._name)
                    raise error_of(error, "can't read the decisions", where,
                                   user=self._user, operation="Read")  # fmt: skip
                tail = _tail_of(arrived.value())
                if tail is not None and (best is None or tail.position > best.position):
                    best = tail
        raise StoreUnavailable(
            "the brokers don't deliver the last decisions", where=DECISIONS_TOPIC
        )

    def _checkpoint(self, committed: KafkaPartition) -> Checkpoint:
        try:
            return _checkpoints.decode(committed.metadata or "")
        except msgspec.DecodeError:
            raise StateError(
                f"the group's offset of {committed.topic}/{committed.partition} was set by "
                "something else than claimtrace",
                where=self._name,
                hint="use a group of its own (kafka.group)",
            ) from None

    def _commit(self, offsets: list[KafkaPartition]) -> KafkaError | None:
        """Commit offsets; returns the error of the call or of the first partition that has one."""
        try:
            done = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            return error.args[0]
        return next((each.error for each in done or () if each.error is not None), None)

    def _refused_topic(self, offsets: list[KafkaPartition]) -> str:
        """Return the topic that this user may not read any more.

        A commit of several topics doesn't name the refused one, so each is committed by itself.
        """
        topics: dict[str, None] = dict.fromkeys(each.topic for each in offsets)
        for topic in topics:
            if self._commit([each for each in offsets if each.topic == topic]) is not None:
                return topic
        return self._name

    def _handle_commit_error(self, error: KafkaError, where: str) -> bool:
        """Return False when the commit can be retried later; raises in all other cases."""
        if error.code() in _RETRY_LATER:
            return False
        named = error_of(error, "can't commit", where, user=self._user, operation="Read")
        if isinstance(named, Fenced):
            raise Superseded(named.what, where=where)
        raise named

    def _handle_error(self, error: KafkaError, where: str) -> None:
        if error.code() == KafkaError._MAX_POLL_EXCEEDED or error.retriable():  # noqa: SLF001
            return  # the group reassigns the partitions; `_on_lost` is called for them
        named = error_of(error, "can't take part in the group", where, user=self._user,
                         operation="Read")  # fmt: skip
        if not isinstance(named, Fenced) and not named.retryable:
            raise named

    # The callbacks of cooperative rebalancing get the change alone, never the whole assignment:
    # each must answer with an incremental call, or librdkafka assigns by itself.

    def _on_assign(self, consumer: Any, topic_partitions: list[KafkaPartition]) -> None:
        # from the end, and paused: this consumer only takes part in the group, it doesn't fetch
        held = [KafkaPartition(each.topic, each.partition, OFFSET_END) for each in topic_partitions]
        consumer.incremental_assign(held)
        consumer.pause(held)
        self._assigned |= {(each.topic, each.partition) for each in topic_partitions}

    def _on_revoke(self, consumer: Any, topic_partitions: list[KafkaPartition]) -> None:
        # the drain flushes and commits while the group still counts the partitions as this
        # worker's: the next owner gets them only after `incremental_unassign`
        revoked = {(each.topic, each.partition) for each in topic_partitions}
        self._drain(revoked)
        self._assigned -= revoked
        consumer.incremental_unassign(topic_partitions)

    def _on_lost(self, consumer: Any, topic_partitions: list[KafkaPartition]) -> None:
        # other workers may own them already, so there is no drain: its commit would be refused
        self._assigned -= {(each.topic, each.partition) for each in topic_partitions}
        consumer.incremental_unassign(topic_partitions)


def _tail_of(value: bytes | None) -> Tail | None:
    """Return position and chain of a decision; None for what somebody else wrote on the topic.

    A foreign record must not end every worker that takes the partition over; `claimtrace verify`
    reports it.
    """
    try:
        return Tail(claim_position_of(value or b"").position, chain_of(value or b""))
    except msgspec.DecodeError:
        return None


def _member_config(connection: KafkaConnection, troubles: BrokerErrors) -> Mapping[str, Any]:
    kafka = connection.kafka
    config: dict[str, Any] = {
        "group.id": kafka.group,
        "group.protocol": kafka.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "latest",  # unused: this consumer fetches no records
        "isolation.level": "read_committed",
        "topic.metadata.refresh.interval.ms": 30_000,
        "error_cb": troubles,
    }
    if kafka.instance:
        config["group.instance.id"] = kafka.instance
    if kafka.group_protocol == "classic":
        session_ms = duration_ms(kafka.session_timeout)
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": max(session_ms // 5, 100),
        }
    return client_config(connection) | config
