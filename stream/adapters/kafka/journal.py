"""The journal as a Kafka topic with one partition: terms first, then numbered plans.

Anyone may append; the first plan with a number wins, and a writer applies only what it has read
back. So a sequencer that was replaced and doesn't know it can do no harm: its plan has a number
that is taken, or it is the next one that all would have written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.clock import Clock
from claimtrace.decisions import JOURNAL_TOPIC
from claimtrace.errors import ClaimtraceError, NoJournal, StateError, StoreUnavailable
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import Plan
from ...journal.terms import Terms
from ..embedded.file_journal import terms_of
from .reading import concerned, ends_of, reader

_WAIT_S: Final = 5.0
_TURN_S: Final = 0.05
_PAGE: Final = 2_000
_PLACE: Final = (JOURNAL_TOPIC, 0)
_plans = msgspec.json.Decoder(Plan)
_encode = msgspec.json.Encoder().encode


class KafkaJournal:
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
        self._clock = clock
        self._user, self._group = connection.security.username, connection.kafka.group
        self._troubles = BrokerErrors(connection)
        self._consumer: Any = reader(connection, self._troubles, fetch_wait_max_ms=20)
        writer = {"error_cb": self._troubles, "on_delivery": self._delivered, "acks": "all",
                  "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": 0}  # fmt: skip
        self._producer: Any = connect(Producer, client_config(connection) | writer)
        self._failure: KafkaError | None = None
        self._in_flight: Plan | None = None
        self._next_number, self._bookmark = 1, 1
        self._bookmarks: dict[int, int] = {}
        self.terms = self._open(terms)

    @property
    def next_number(self) -> int:
        """The number after that of the last plan read or appended."""
        return self._next_number

    @property
    def is_empty(self) -> bool:
        """Whether no plan was ever written: it has its terms only."""
        return self._end() <= 1 or not any(True for _ in self.read(1))

    def bookmark(self, number: int) -> int:
        """The offset behind a plan, or behind the terms when it is too long ago."""
        return self._bookmarks.get(number, 1)

    def append(self, plan: Plan) -> Plan:
        """Send a plan and read on until one with its number comes; that one has won."""
        assert plan.number == self._next_number, "read what is there before you append"
        if self._in_flight != plan:
            self._produce(_encode(plan), b"plan")
            self._in_flight = plan
        until_s = self._clock.monotonic_s() + _WAIT_S
        while self._clock.monotonic_s() < until_s:
            self._producer.poll(0)
            self._check()
            for won in self._pull(1, _TURN_S):
                return won
        why = f": {self._troubles.last}" if self._troubles.last else ""
        raise StoreUnavailable(
            f"the journal doesn't take plan {plan.number}{why}",
            where=JOURNAL_TOPIC,
            hint="the same plan is tried again; are the brokers up?",
        )

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:
        """The plans from a number on, as far as they are there now."""
        is_elsewhere = from_number != self._next_number or bookmark > 0
        if is_elsewhere:
            self._next_number = from_number
            self._bookmarks[from_number - 1] = max(bookmark, 1)
            self._seek(max(bookmark, 1))
        # who goes on takes what has arrived; any other reads up to the end
        end = self._end() if is_elsewhere or from_number == 1 else -1
        at, until_s = self._bookmark, self._clock.monotonic_s() + _WAIT_S
        while True:
            plans = list(self._pull(_PAGE, _TURN_S if self._bookmark < end else 0.0))
            yield from plans
            if self._bookmark >= end and (end >= 0 or not plans):
                return
            if self._bookmark > at:
                at, until_s = self._bookmark, self._clock.monotonic_s() + _WAIT_S
            elif self._clock.monotonic_s() > until_s:
                raise StoreUnavailable("the brokers don't deliver the plans", where=JOURNAL_TOPIC)

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()
        self._producer.flush(_TURN_S)

    def _open(self, terms: Terms | None) -> Terms:
        if self._end() == 0:
            if terms is None:
                raise NoJournal.at(JOURNAL_TOPIC)
            self._produce(_encode(terms), b"terms")
        self._seek(0)
        until_s = self._clock.monotonic_s() + 2 * _WAIT_S
        while self._clock.monotonic_s() < until_s:
            self._producer.poll(0)
            self._check()
            found = self._poll(_TURN_S)
            if found is not None:
                self._bookmark = found.offset() + 1
                begun = terms_of(found.value() or b"", JOURNAL_TOPIC)
                if terms is not None:
                    begun.check_same(terms, JOURNAL_TOPIC)
                return begun
        raise StoreUnavailable("the journal can't be read", where=JOURNAL_TOPIC)

    def _pull(self, most: int, timeout_s: float) -> Iterator[Plan]:
        """Up to so many plans that have won, of those that have arrived."""
        first = self._poll(timeout_s)
        if first is None:
            return
        for arrived in [first, *(self._consumer.consume(most - 1, 0) if most > 1 else [])]:
            if arrived.error() is not None:
                self._take_error(arrived.error())
                continue
            plan = self._plan(arrived)
            self._bookmark = arrived.offset() + 1
            if plan is not None:
                yield plan

    def _plan(self, arrived: Any) -> Plan | None:
        """The plan of a record; None when its number was taken before."""
        if arrived.key() == b"terms":
            return None  # of a worker that started at the same moment as another
        try:
            plan = _plans.decode(arrived.value() or b"")
        except msgspec.DecodeError as error:
            raise StateError(
                f"the record at {arrived.offset()} is no plan: {error}", where=JOURNAL_TOPIC,
                hint="nothing may be replayed past it; who else writes to this topic?",
            ) from error  # fmt: skip
        if plan.number < self._next_number:
            return None
        if plan.number > self._next_number:
            raise StateError(
                f"plan {plan.number} follows plan {self._next_number - 1}", where=JOURNAL_TOPIC,
                hint="the topic lost records, or a snapshot of another journal was restored",
            )  # fmt: skip
        self._next_number += 1
        self._in_flight = None
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
            self._take_error(found.error())
            return None
        return found

    def _seek(self, offset: int) -> None:
        self._consumer.assign([TopicPartition(*_PLACE, offset)])
        self._bookmark = offset

    def _end(self) -> int:
        return ends_of(self._consumer, self._troubles, _PLACE, self._user)[1]

    def _produce(self, value: bytes, key: bytes) -> None:
        try:
            self._producer.produce(JOURNAL_TOPIC, value, key, 0)
        except (BufferError, KafkaException) as error:
            raise StoreUnavailable(
                f"the journal takes nothing: {error}", where=JOURNAL_TOPIC
            ) from error

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failure = error
            self._in_flight = None

    def _check(self) -> None:
        if self._failure is not None:
            error, self._failure = self._failure, None
            raise self._error(error, "can't write the journal", "Write")

    def _take_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF or error.retriable():  # noqa: SLF001
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            raise StateError(
                f"the journal has no record at {self._bookmark}", where=JOURNAL_TOPIC,
                hint="it was cut or made anew: restore it, or start with a new folder",
            )  # fmt: skip
        raise self._error(error, "can't read the journal", "Read")

    def _error(self, error: KafkaError, what: str, operation: str) -> ClaimtraceError:
        where = concerned(error, JOURNAL_TOPIC, self._group)
        return error_of(error, what, where, user=self._user, operation=operation)
