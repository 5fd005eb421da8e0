"""The transactions of one producer: begin, commit with a group's offsets, abort.

A call of librdkafka that timed out may be repeated and resumes where it was. So waiting is done in
short turns, between which a refused login is noticed and Ctrl-C works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.kafka.errors import error_of
from claimtrace.errors import ClaimtraceError, StateError, StoreUnavailable

_TURN_S: Final = 1.0
_PAUSE_S: Final = 0.05


class Aborted(StoreUnavailable):
    """The brokers required an abort of the transaction: begin again and send the same records."""


class Transactions:
    """The state of one transactional producer.

    Args:
        producer: of confluent-kafka, with a `transactional.id`.
        name: that id.
        user: our user name at the brokers, for the ACL in a hint.
        check: raises permanent errors that reached the producer's callbacks between calls.
    """

    def __init__(self, producer: Any, name: str, user: str, check: Callable[[], None]) -> None:
        self._producer = producer
        self._name = name
        self._user = user
        self._check = check
        self._ready = False
        self.is_open = False
        self.is_committing = False
        """Whether a commit has begun whose outcome isn't known yet."""

    def begin(self, deadline_s: float) -> None:
        """Begin a transaction; one that is still open is aborted first."""
        end_s = time.monotonic() + deadline_s
        try:
            if not self._ready:
                self._repeat(self._producer.init_transactions, end_s)
                self._ready = True
            if self.is_open:
                self.abort(deadline_s)
            self._producer.begin_transaction()
        except KafkaException as failure:
            raise self._error(failure.args[0], "can't begin a transaction") from None
        self.is_open, self.is_committing = True, False

    def commit(
        self, offsets: list[TopicPartition], group_metadata: object, deadline_s: float
    ) -> None:
        """Commit the open transaction, or resume a commit that got no answer."""
        self.must_be_open()
        end_s = time.monotonic() + deadline_s
        try:
            # once the commit has begun, offsets can't be added: a retry only repeats the commit
            if offsets and not self.is_committing:
                self._repeat(
                    lambda turn_s: self._producer.send_offsets_to_transaction(
                        offsets, group_metadata, turn_s
                    ),
                    end_s,
                )
            self.is_committing = True
            self._repeat(self._producer.commit_transaction, end_s)
        except KafkaException as failure:
            error = failure.args[0]
            if error.txn_requires_abort():
                self.abort(max(_TURN_S, end_s - time.monotonic()))
                self._check()  # the error of a failed record explains more than the transaction's
                raise self._aborted(error) from None
            raise self._error(error, "the outcome of the commit is not known yet") from None
        self.is_open = self.is_committing = False

    def abort(self, deadline_s: float) -> None:
        """Abort the open transaction, if there is one."""
        if not self.is_open:
            return
        try:
            self._repeat(self._producer.abort_transaction, time.monotonic() + deadline_s)
        except KafkaException as failure:
            raise self._error(failure.args[0], "can't abort the transaction") from None
        self.is_open = self.is_committing = False

    def must_be_open(self) -> None:
        """Raise `StateError` unless a transaction is open."""
        if not self.is_open:
            raise StateError("no transaction was begun", where=self._name, hint="call begin first")

    def _repeat(self, call: Callable[[float], object], end_s: float) -> None:
        """Call until success, a permanent error, or the deadline `end_s` (monotonic)."""
        while True:
            left_s = end_s - time.monotonic()
            try:
                call(max(0.1, min(_TURN_S, left_s)))
                return
            except KafkaException as failure:
                self._producer.poll(0)
                if not failure.args[0].txn_requires_abort():  # the caller aborts before it checks
                    self._check()
                if not failure.args[0].retriable() or left_s <= _TURN_S:
                    raise
            time.sleep(_PAUSE_S)

    def _aborted(self, error: KafkaError) -> ClaimtraceError:
        ours = error_of(error, "the transaction was aborted", self._name, user=self._user)
        if isinstance(ours, StoreUnavailable):
            return Aborted(
                ours.what, where=self._name, hint="begin again and send the same records"
            )
        return ours

    def _error(self, error: KafkaError, what: str) -> ClaimtraceError:
        ours = error_of(error, what, self._name, user=self._user)
        if isinstance(ours, StoreUnavailable) and not error.retriable():
            return StateError(ours.what, where=self._name, hint="close this producer")
        return ours
