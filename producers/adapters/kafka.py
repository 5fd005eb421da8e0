# ruff: noqa: SLF001 - librdkafka's own error codes begin with an underscore
"""Write records to Kafka: idempotent, acknowledged by all in-sync replicas, in transactions or not.

One producer of librdkafka. No accepted record is dropped silently: a permanent failure of a record
is raised by the next `send` or `flush`, and records that can't be sent yet are kept.
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
"""Longest call of librdkafka, between which errors, deadlines and Ctrl-C are checked."""

_GAPLESS_SLICE_S: Final = 0.005
"""The same while an acknowledgement, of which librdkafka tells nothing, is waited for."""

_CLOSE_S: Final = 5.0
_REPORTS_S: Final = 1.0
"""How long the reports on records that were given up are waited for."""
_USUAL: Final = ClientConfig(
    {
        "linger.ms": 5,
        "topic.metadata.propagation.max.ms": 10_000,  # an unknown topic is reported after this
    }
)
_PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class KafkaSink:
    """A `producers.sending.sink.Sink` on a Kafka cluster, whose topics must exist.

    A record with partition -1 goes to the partition of its key, as with Java's clients (murmur2),
    or to any partition without a key; others go to their own partition. A record is acknowledged
    when all in-sync replicas have it; librdkafka retries unanswered records in order and without
    duplicates.

    With a `transactional_id`, records can be sent only between `begin` and `commit` or `abort`, and
    a consumer of committed records sees all of them or none. A second sink with the same id fences
    the first.

    Args:
        connection: brokers, credentials and compression.
        transactional_id: turns transactions on.
        message_timeout_s: a record without an acknowledgement for this long has failed; 0: never.
            Not used with transactions, which have a time-out of their own.
        send_deadline_s: longest wait of `send` for room in a full queue.
        gapless: after a record that failed permanently nothing is sent any more, so that no later
            record of its partition is there without it; a new sink sends what is missing.

    Raises:
        ConfigError: a setting is invalid; no broker was contacted yet.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        transactional_id: str = "",
        message_timeout_s: float = 0.0,
        send_deadline_s: float = 30.0,
        gapless: bool = False,
    ) -> None:
        self._user = connection.security.username
        self._where = brokers_of(connection)
        self._send_deadline_s = send_deadline_s
        self.troubles = BrokerErrors(connection)
        config = _USUAL | client_config(connection)
        config |= {
            "error_cb": self.troubles,
            "on_delivery": self._delivered,
            "delivery.report.only.error": True,  # successes are counted, not called back
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": connection.kafka.compression,
            # so that an added partition is known before a worker owns it
            "topic.metadata.refresh.interval.ms": 5_000,
        }
        if transactional_id:
            # the longest time for which a killed sink blocks consumers of committed records
            longest_ms = connection.kafka.properties.get("transaction.timeout.ms", 15_000)
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": longest_ms}
        else:
            config |= {"message.timeout.ms": round(message_timeout_s * 1000)}
        if gapless:
            config |= {"enable.gapless.guarantee": True}
        self._is_gapless = gapless
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
        """Number of records that the brokers have acknowledged; never an overestimate."""
        return self._taken - self.failed - self.unacknowledged

    @property
    def unacknowledged(self) -> int:
        """Number of records that were accepted and have neither been acknowledged nor failed."""
        queued = self._left if self._producer is None else len(self._producer)
        # the length of librdkafka's queue includes events, such as that a broker is down
        return min(queued + len(self._waiting), self._taken - self.failed)

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Accept records; returns before they are acknowledged. Waits for room in a full queue.

        Raises:
            StoreUnavailable: no room in time: none of these was accepted; retry the same records.
            ConfigError, StateError: an earlier record or the login failed permanently. Raised once;
                the other earlier records are still sent.
        """
        self.check()
        if self._transactions is not None:
            self._transactions.must_be_open()
        end_s = time.monotonic() + self._send_deadline_s
        if not self._hand_over(end_s):
            raise self._unavailable("the queue is full")
        # accepted from here on: what doesn't fit the queue waits beside it, in order
        self._taken += len(outgoing)
        queued = self._produce(outgoing)
        if queued < len(outgoing):
            self._waiting.extend(outgoing[queued:])
            self._hand_over(end_s)
        self._poll(0)

    def flush(self, deadline_s: float) -> None:
        """Wait until all accepted records are acknowledged.

        Raises:
            StoreUnavailable: not in time; states how many records wait. They are kept: flush again.
            ConfigError, StateError: a record or the login failed permanently.
        """
        end_s = time.monotonic() + deadline_s
        while True:
            left_s = end_s - time.monotonic()
            self._hand_over(min(time.monotonic() + _SLICE_S, end_s))
            waits = self._settle(max(0.0, min(_SLICE_S, left_s)))
            self.check()
            if waits == 0 and not self._waiting:
                self.troubles.answered()
                return
            if left_s <= 0:
                raise self._unavailable(f"no acknowledgement within {deadline_s:g} s")

    def close(self) -> None:
        """Flush for up to 5 s, abandon what the brokers don't acknowledge, and disconnect.

        An open transaction is aborted. Never raises: a caller that must know calls `flush` before.
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
            end_s = time.monotonic() + _REPORTS_S
            while len(self._producer) and time.monotonic() < end_s:
                self._poll(_GAPLESS_SLICE_S)  # one call may end before all reports were served
        finally:
            self._left = len(self._producer)
            self._producer = self._transactions = None

    # -- transactions -----------------------------------------------------------------------------

    def begin(self, deadline_s: float = 30.0) -> None:
        """Begin a transaction; the first one fences all older sinks of the same id.

        Raises:
            StoreUnavailable: no answer in time; retry.
            Fenced: a newer sink has this id; close this one.
        """
        self._in_transactions().begin(deadline_s)
        self._acknowledged_before = self.acknowledged

    def commit(
        self, offsets: list[TopicPartition], group_metadata: object, deadline_s: float = 30.0
    ) -> None:
        """Commit the records sent since `begin`, together with a group's offsets (next to read).

        Raises:
            Aborted: none of the records is visible; begin again and send the same records.
            Fenced: this member is no longer in the group's generation, or a newer sink has this id;
                none of the records is visible.
            ConfigError: a record or the group was refused; none of the records is visible.
            StoreUnavailable, but not `Aborted`: the outcome is not known yet; commit again.
        """
        transactions = self._in_transactions()
        if not self._hand_over(time.monotonic() + deadline_s):
            raise self._unavailable("the queue is full")
        if self._failure is not None and not transactions.is_committing:
            # refused before it was part of the transaction, which would be committed without it
            self.abort(deadline_s)
            self.check()
        try:
            transactions.commit(offsets, group_metadata, deadline_s)
        except ClaimtraceError:
            self._forget_aborted()
            raise

    def abort(self, deadline_s: float = 30.0) -> None:
        """Abort the records sent since `begin`; does nothing outside of a transaction.

        Raises:
            StoreUnavailable: no answer in time; retry.
        """
        transactions = self._in_transactions()
        if transactions.is_open:
            self._waiting.clear()
            transactions.abort(deadline_s)
            self._forget_aborted()

    # -- inside -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise an error reported since the last call: a refused login or a failed record.

        Raises:
            ConfigError, StateError, StoreUnavailable: see `error_of`.
        """
        if self._failure is not None:
            error, topic = self._failure
            if not self._is_gapless:  # else nothing can be sent any more
                self._failure = None
            raise error_of(error, "can't write", topic, user=self._user, operation="Write")
        self.troubles.check()

    def _produce(self, outgoing: Sequence[Outgoing]) -> int:
        """Put records into librdkafka's queue; returns how many fitted before it was full."""
        if self._is_gapless and self.failed:
            self.failed += len(outgoing)
            return len(outgoing)
        produce, queued = self._producer.produce, 0
        rows = outgoing.rows() if isinstance(outgoing, OutgoingBatch) else outgoing
        for topic, partition, key, value, log_time_ms, headers in rows:
            try:  # positional arguments: keywords cost .3 us a record
                if headers:
                    produce(topic, value, key, partition, None, None, log_time_ms, list(headers))
                else:
                    produce(topic, value, key, partition, None, None, log_time_ms)
            except BufferError:
                return queued
            except KafkaException as failure:  # for example a record above message.max.bytes
                if self._is_gapless:
                    self._settle(_REPORTS_S)  # an earlier record's refusal may be the cause
                self._refused(failure.args[0], topic)
                if self._is_gapless:
                    self.failed += len(outgoing) - queued - 1
                    return len(outgoing)
            queued += 1
        return queued

    def _hand_over(self, end_s: float) -> bool:
        """Move waiting records into the queue; returns False when there was no room in time."""
        while self._waiting:
            queued = self._produce(self._waiting)
            for _ in range(queued):
                self._waiting.popleft()
            if self._waiting:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._poll(min(_SLICE_S, left_s))
                self.troubles.check()
        return True

    def _settle(self, seconds: float) -> int:
        """Wait until the queue is empty; returns how many records are left in it."""
        if not self._is_gapless:
            return int(self._producer.flush(seconds))
        # `flush` serves further callbacks after a fatal error, with that error pending in them
        end_s = time.monotonic() + seconds
        while len(self._producer) and self._failure is None and time.monotonic() < end_s:
            self._poll(_GAPLESS_SLICE_S)
        return len(self._producer)

    def _poll(self, seconds: float) -> None:
        """Let librdkafka report deliveries and errors, which come as calls of `_delivered`."""
        try:
            self._producer.poll(seconds)
        except KafkaException as error:
            # a gap would arise, so the client is done; the report on the record comes next
            if not self._is_gapless or error.args[0].code() != KafkaError._GAPLESS_GUARANTEE:
                raise

    def _delivered(self, error: KafkaError | None, record: Message) -> None:
        """Take librdkafka's report on a record; only failures are reported."""
        if error is not None:
            self._refused(error, record.topic() or "")

    def _refused(self, error: KafkaError, topic: str) -> None:
        self.failed += 1
        if self._failure is None and error.code() not in _PURGED:  # we purged it
            self._failure = error, topic

    def _forget_aborted(self) -> None:
        """Count records of an aborted transaction as failed, even if they were acknowledged."""
        if not self._in_transactions().is_open:
            self.failed = self._taken - self.unacknowledged - self._acknowledged_before

    def _in_transactions(self) -> Transactions:
        if self._transactions is None:
            raise StateError("no transactions: the sink is closed or has no transactional_id")
        return self._transactions

    def _unavailable(self, what: str) -> StoreUnavailable:
        why = f": {self.troubles.last}" if self.troubles.last else ""
        waiting = f"{self.unacknowledged:,} records wait for an acknowledgement"
        return StoreUnavailable(f"{what}; {waiting}{why}", where=self._where,
                                hint="are the brokers up, and reachable from here?")  # fmt: skip
