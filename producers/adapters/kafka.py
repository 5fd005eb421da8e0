# ruff: noqa: SLF001 - librdkafka's own error codes begin with an underscore
"""Records into Kafka: idempotent, acknowledged by all copies in sync, in transactions on request.

One producer of librdkafka. Nothing that was taken is dropped in silence: what a broker refuses for
good is raised by the next `send` or `flush`, and what can't be sent yet is kept.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from claimtrace.adapters.kafka.client import (
    BrokerErrors,
    ClientConfig,
    brokers_of,
    client_config,
    connect,
)
from claimtrace.adapters.kafka.errors import Fenced, error_of
from claimtrace.batches.outgoing import OutgoingBatch
from claimtrace.errors import ClaimtraceError, StateError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KafkaConnection

from .kafka_transactions import Aborted, Transactions

__all__ = ["Aborted", "Fenced", "KafkaSink"]

_SLICE_S: Final = 0.25
"""Longest time inside librdkafka before troubles, deadlines and Ctrl-C are looked at."""

_CLOSE_S: Final = 5.0
_USUAL: Final = ClientConfig(
    {
        "linger.ms": 5,
        "topic.metadata.propagation.max.ms": 10_000,  # a topic that isn't there is said this soon
    }
)
_PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class KafkaSink:
    """A `producers.sending.sink.Sink` on a Kafka cluster; topics must be there.

    A record with a partition goes there; one with partition -1 goes where its key says, as Java's
    clients have it (murmur2), without a key anywhere. A record is acknowledged when all copies in
    sync have it; librdkafka sends again what got no answer, without doubles and in order.

    With a `transactional_id`, records are sent between `begin` and `commit` or `abort` only, and a
    reader that reads committed records sees all of them or none. A second sink with the same id
    fences the first.

    Args:
        connection: where the cluster is, who we are, how to compress.
        transactional_id: turns transactions on.
        message_timeout_s: a record without an acknowledgement for this long has failed; 0: never.
            Not for transactions, which have a time-out of their own.
        send_deadline_s: how long `send` waits for room in a full queue.

    Raises:
        ConfigError: a setting is wrong; nothing was sent to the brokers yet.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        transactional_id: str = "",
        message_timeout_s: float = 0.0,
        send_deadline_s: float = 30.0,
    ) -> None:
        self._user = connection.security.username
        self._where = brokers_of(connection)
        self._send_deadline_s = send_deadline_s
        self.troubles = BrokerErrors(connection)
        config = _USUAL | client_config(connection)
        config |= {
            "error_cb": self.troubles,
            "on_delivery": self._delivered,
            "delivery.report.only.error": True,  # the acknowledged are counted, not called for
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": connection.kafka.compression,
            # a partition that was added is known before anybody owns it
            "topic.metadata.refresh.interval.ms": 5_000,
        }
        if transactional_id:
            # a sink that was killed holds up readers of committed records for no longer than this
            longest_ms = connection.kafka.properties.get("transaction.timeout.ms", 15_000)
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": longest_ms}
        else:
            config |= {"message.timeout.ms": round(message_timeout_s * 1000)}
        self._producer: Any = connect(Producer, config)
        self._transactions = (
            Transactions(self._producer, transactional_id, self._user, self.check)
            if transactional_id
            else None
        )
        self._acknowledged_before = 0
        self._waiting: deque[Outgoing] = deque()
        self._failure: tuple[KafkaError, str] | None = None
        self._taken = 0
        self._left = 0
        self.failed = 0

    # -- the contract of a sink -------------------------------------------------------------------

    @property
    def acknowledged(self) -> int:
        """Records that the brokers have acknowledged; never more than that."""
        return self._taken - self.failed - self.unacknowledged

    @property
    def unacknowledged(self) -> int:
        """Records that were taken and are neither acknowledged nor refused."""
        queued = self._left if self._producer is None else len(self._producer)
        # librdkafka's queue also holds what it has to tell, such as that a broker is down
        return min(queued + len(self._waiting), self._taken - self.failed)

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Take records; returns before they are acknowledged. Waits for room in a full queue.

        Raises:
            StoreUnavailable: no room in time: none of these was taken; send the same again.
            ConfigError, StateError: records of before were refused for good, or a login was. It is
                said once; the others of before go on.
        """
        self.check()
        if self._transactions is not None:
            self._transactions.must_be_open()
        end_s = time.monotonic() + self._send_deadline_s
        if not self._hand_over(end_s):
            raise self._unavailable("the queue is full")
        self._taken += len(outgoing)
        queued = self._produce(outgoing)
        if queued < len(outgoing):
            self._waiting.extend(outgoing[queued:])
            self._hand_over(end_s)
        self._producer.poll(0)

    def flush(self, deadline_s: float) -> None:
        """Return when all that was taken is acknowledged.

        Raises:
            StoreUnavailable: not in time; says how many wait. They are kept: flush again.
            ConfigError, StateError: some were refused for good, or a login was.
        """
        end_s = time.monotonic() + deadline_s
        while True:
            left_s = end_s - time.monotonic()
            self._hand_over(min(time.monotonic() + _SLICE_S, end_s))
            waits = self._producer.flush(max(0.0, min(_SLICE_S, left_s)))
            self.check()
            if waits == 0 and not self._waiting:
                self.troubles.answered()
                return
            if left_s <= 0:
                raise self._unavailable(f"no acknowledgement within {deadline_s:g} s")

    def close(self) -> None:
        """Flush for some seconds, give up what the brokers don't take, and let go of them.

        An open transaction is taken back. Doesn't raise: whoever must know calls `flush` before.
        """
        if self._producer is None:
            return
        try:
            if self._transactions is None:
                self.flush(_CLOSE_S)
            else:
                self.abort(_CLOSE_S)
        except ClaimtraceError:
            self._waiting.clear()
            self._producer.purge()
            self._producer.poll(0)
        finally:
            self._left = len(self._producer)
            self._producer = self._transactions = None

    # -- transactions -----------------------------------------------------------------------------

    def begin(self, deadline_s: float = 30.0) -> None:
        """Begin a transaction; the first one fences all older sinks of the same id.

        Raises:
            StoreUnavailable: no answer in time; begin again.
            Fenced: a newer sink has this id; close this one.
        """
        self._in_transactions().begin(deadline_s)
        self._acknowledged_before = self.acknowledged

    def commit(
        self, offsets: list[TopicPartition], group_metadata: object, deadline_s: float = 30.0
    ) -> None:
        """Commit what was sent since `begin`, together with a group's offsets (next to read).

        Raises:
            Aborted: nothing of it is visible; begin again and send the same again.
            Fenced: the group has moved on without us, or a newer sink has this id; nothing of it is
                visible.
            ConfigError: a record or the group was refused; nothing of it is visible.
            StoreUnavailable, but not `Aborted`: it isn't known yet whether it holds; commit again.
        """
        transactions = self._in_transactions()
        if not self._hand_over(time.monotonic() + deadline_s):
            raise self._unavailable("the queue is full")
        try:
            transactions.commit(offsets, group_metadata, deadline_s)
        except ClaimtraceError:
            self._forget_aborted()
            raise

    def abort(self, deadline_s: float = 30.0) -> None:
        """Take back what was sent since `begin`; does nothing outside of a transaction.

        Raises:
            StoreUnavailable: no answer in time; abort again.
        """
        transactions = self._in_transactions()
        if transactions.is_open:
            self._waiting.clear()
            transactions.abort(deadline_s)
            self._forget_aborted()

    # -- inside -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what was learned since the last call: a refused login, a refused record.

        Raises:
            ConfigError, StateError, StoreUnavailable: as `error_of` has it.
        """
        self.troubles.check()
        if self._failure is not None:
            (error, topic), self._failure = self._failure, None
            raise error_of(error, "can't write", topic, user=self._user, operation="Write")

    def _produce(self, outgoing: Sequence[Outgoing]) -> int:
        """Put records into the queue; returns how many it took before it was full."""
        produce, queued = self._producer.produce, 0
        rows = outgoing.rows() if isinstance(outgoing, OutgoingBatch) else outgoing
        for topic, partition, key, value, log_time_ms, headers in rows:
            try:  # by place: names cost .3 us a record
                if headers:
                    produce(topic, value, key, partition, None, None, log_time_ms, list(headers))
                else:
                    produce(topic, value, key, partition, None, None, log_time_ms)
            except BufferError:
                return queued
            except KafkaException as failure:  # such as a record above message.max.bytes
                self._refused(failure.args[0], topic)
            queued += 1
        return queued

    def _hand_over(self, end_s: float) -> bool:
        """Put what waits for room into the queue; False when there was no room in time."""
        while self._waiting:
            queued = self._produce(self._waiting)
            for _ in range(queued):
                self._waiting.popleft()
            if self._waiting:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._producer.poll(min(_SLICE_S, left_s))
                self.troubles.check()
        return True

    def _delivered(self, error: KafkaError | None, record: Message) -> None:
        """librdkafka's report on a record; only of those that failed."""
        if error is not None:
            self._refused(error, record.topic() or "")

    def _refused(self, error: KafkaError, topic: str) -> None:
        self.failed += 1
        if self._failure is None and error.code() not in _PURGED:  # the purge was our own wish
            self._failure = error, topic

    def _forget_aborted(self) -> None:
        """Don't count what was acknowledged within a transaction that was taken back."""
        if not self._in_transactions().is_open:
            self.failed = self._taken - self.unacknowledged - self._acknowledged_before

    def _in_transactions(self) -> Transactions:
        if self._transactions is None:
            raise StateError("no transactions here: closed, or made without a transactional_id")
        return self._transactions

    def _unavailable(self, what: str) -> StoreUnavailable:
        why = f": {self.troubles.last}" if self.troubles.last else ""
        waiting = f"{self.unacknowledged:,} records wait for an acknowledgement"
        return StoreUnavailable(f"{what}; {waiting}{why}", where=self._where,
                                hint="are the brokers up, and reachable from here?")  # fmt: skip
