"""The journal as a Kafka topic with one partition: terms first, then numbered plans.

Any worker may append; the first plan with a number wins, and a writer applies only what it has read
back. So a sequencer that was replaced and doesn't know it does no harm: either its plan's number is
taken, or its plan becomes the next one, and all workers apply it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.clock import Clock
from claimtrace.decisions import JOURNAL_TOPIC
from claimtrace.errors import ClaimtraceError, StateError, StoreUnavailable
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import JOURNAL, Plan
from ...journal.shared_journal import SharedJournal
from ...journal.terms import Terms
from .reading import ends_of, reader, resource_of

_WAIT_S: Final = 5.0
_POLL_S: Final = 0.05
_PAGE: Final = 2_000
_TERMS_KEY: Final = b"terms"
_PLAN_KEY: Final = b"plan"


class KafkaJournal(SharedJournal):
    """Plans on the topic `claims.journal`.

    Args:
        connection: brokers and security.
        terms: written when the journal is empty, compared otherwise; None: a reader only, which
            takes the journal's own.
        clock: for deadlines.

    Raises:
        StateError: the journal was begun under other terms; or a reader finds none.
        StoreUnavailable: the brokers don't answer.
    """

    def __init__(self, connection: KafkaConnection, terms: Terms | None, clock: Clock) -> None:
        super().__init__(JOURNAL_TOPIC, "topic")
        self._clock = clock
        self._user, self._group = connection.security.username, connection.kafka.group
        self._troubles = BrokerErrors(connection)
        self._consumer: Any = reader(connection, self._troubles, fetch_wait_max_ms=20)
        writer = {"error_cb": self._troubles, "on_delivery": self._delivered, "acks": "all",
                  "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": 0}  # fmt: skip
        self._producer: Any = connect(Producer, client_config(connection) | writer)
        self._failure: KafkaError | None = None
        self._in_flight: Plan | None = None
        """The plan that the producer holds or that is on the topic, until a plan was read back."""
        self._bookmark = 1
        """The next offset to read."""
        self._bookmarks: dict[int, int] = {}
        """The offset behind each plan that was read recently."""
        self._open(terms)

    @property
    def is_empty(self) -> bool:
        """Whether the journal has its terms only, and no plan."""
        return self._end() <= 1 or not any(True for _ in self.read(1))

    def bookmark(self, number: int) -> int:
        """Return the offset behind a plan, or behind the terms for a plan read too long ago."""
        return self._bookmarks.get(number, 1)

    def _append(self, plan: Plan, encoded: bytes) -> Plan:
        """Send a plan and read on until a plan with its number comes: that plan has won."""
        # a retry of a plan whose answer is missing must not send it a second time: librdkafka still
        # holds it, and retries for as long as it takes (`message.timeout.ms` 0)
        if self._in_flight != plan:
            self._produce(encoded, _PLAN_KEY)
            self._in_flight = plan
        until_s = self._clock.monotonic_s() + _WAIT_S
        while self._clock.monotonic_s() < until_s:
            self._producer.poll(0)
            self._check_delivery()
            for won in self._pull(1, _POLL_S):
                return won
        why = f": {self._troubles.last}" if self._troubles.last else ""
        raise StoreUnavailable(
            f"the journal doesn't take plan {plan.number}{why}",
            where=JOURNAL_TOPIC,
            hint="the same plan is tried again; are the brokers up?",
        )

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:
        """Yield the plans from a number on, as far as they are on the topic now."""
        is_jump = from_number != self._next_number or bookmark > 0
        if is_jump:
            self._next_number = from_number
            self._bookmarks[from_number - 1] = max(bookmark, 1)
            self._seek(max(bookmark, 1))
        # a reader that continues takes what has been fetched, without a call to the brokers; after
        # a jump, and at the start, everything up to the end as of now is read
        end = self._end() if is_jump or from_number == 1 else -1
        at, until_s = self._bookmark, self._clock.monotonic_s() + _WAIT_S
        while True:
            plans = list(self._pull(_PAGE, _POLL_S if self._bookmark < end else 0.0))
            yield from plans
            if self._bookmark >= end and (end >= 0 or not plans):
                return
            if self._bookmark > at:  # any progress extends the deadline
                at, until_s = self._bookmark, self._clock.monotonic_s() + _WAIT_S
            elif self._clock.monotonic_s() > until_s:
                raise StoreUnavailable("the brokers don't deliver the plans", where=JOURNAL_TOPIC)

    def close(self) -> None:
        """Close the connections to the brokers."""
        self._consumer.close()
        self._producer.flush(_POLL_S)

    def _write_terms(self, encoded: bytes) -> bool:
        if self._end() == 0:
            self._produce(encoded, _TERMS_KEY)
        return False  # another worker's terms may be first: a topic takes both

    def _read_terms(self, *, is_begun: bool) -> bytes | None:
        if not is_begun and self._end() == 0:
            return None
        self._seek(0)
        until_s = self._clock.monotonic_s() + 2 * _WAIT_S
        while self._clock.monotonic_s() < until_s:
            self._producer.poll(0)
            self._check_delivery()
            found = self._poll(_POLL_S)
            if found is not None:
                self._bookmark = found.offset() + 1
                return found.value() or b""
        raise StoreUnavailable("the journal can't be read", where=JOURNAL_TOPIC)

    def _pull(self, most: int, timeout_s: float) -> Iterator[Plan]:
        """Yield plans that have won, out of at most `most` records that have arrived."""
        first = self._poll(timeout_s)
        if first is None:
            return
        for arrived in [first, *(self._consumer.consume(most - 1, 0) if most > 1 else [])]:
            if arrived.error() is not None:
                self._handle_error(arrived.error())
                continue
            plan = self._plan_that_won(arrived)
            self._bookmark = arrived.offset() + 1
            if plan is not None:
                yield plan

    def _plan_that_won(self, arrived: Any) -> Plan | None:
        """Return the plan of a record; None when its number is taken: an earlier plan has won."""
        if arrived.key() == _TERMS_KEY:
            return None  # two workers that start at the same moment both write their terms
        plan = self._decoded(arrived.value() or b"", f"the record at {arrived.offset()}")
        if plan.number < self._next_number:
            return None
        if plan.number > self._next_number:
            raise StateError(
                f"plan {plan.number} follows plan {self._next_number - 1}", where=JOURNAL_TOPIC,
                hint="the topic lost records, or a snapshot of another journal was restored",
            )  # fmt: skip
        self._next_number += 1
        self._in_flight = None  # its number is taken now, by it or by another plan
        self._bookmarks[plan.number] = arrived.offset() + 1
        if len(self._bookmarks) > 4 * _PAGE:
            self._bookmarks = dict(list(self._bookmarks.items())[-2 * _PAGE :])
        return plan

    def _poll(self, timeout_s: float) -> Any:
        found = self._consumer.poll(timeout_s)
        self._troubles.check()
        if found is None:
            return None
        self._troubles.answered()
        if found.error() is not None:
            self._handle_error(found.error())
            return None
        return found

    def _seek(self, offset: int) -> None:
        self._consumer.assign([TopicPartition(*JOURNAL, offset)])
        self._bookmark = offset

    def _end(self) -> int:
        return ends_of(self._consumer, self._troubles, JOURNAL, self._user)[1]

    def _produce(self, value: bytes, key: bytes) -> None:
        try:
            self._producer.produce(JOURNAL_TOPIC, value, key, 0)
        except (BufferError, KafkaException) as error:
            raise StoreUnavailable(
                f"the journal accepts no record: {error}", where=JOURNAL_TOPIC
            ) from error

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failure = error
            self._in_flight = None

    def _check_delivery(self) -> None:
        """Raise the error of a delivery that failed since the last check."""
        if self._failure is not None:
            error, self._failure = self._failure, None
            raise self._error(error, "can't write the journal", "Write")

    def _handle_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF or error.retriable():  # noqa: SLF001
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            raise StateError(
                f"the journal has no record at {self._bookmark}", where=JOURNAL_TOPIC,
                hint="it was truncated or created again: restore it, or start with a new folder",
            )  # fmt: skip
        raise self._error(error, "can't read the journal", "Read")

    def _error(self, error: KafkaError, what: str, operation: str) -> ClaimtraceError:
        where = resource_of(error, JOURNAL_TOPIC, self._group)
        return error_of(error, what, where, user=self._user, operation=operation)
