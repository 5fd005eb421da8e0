"""The transactions of one producer: begin, commit with a group's offsets, abort.

Each call of librdkafka may be given up and called again; it goes on where it was. So waiting is
done in short turns, between which a refused login is seen and Ctrl-C works.
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
    """The transaction was taken back by the brokers' wish: begin again and send the same again."""


class Transactions:
    """What one transactional producer has open; `check` raises troubles that waiting doesn't mend.

    Args:
        producer: of confluent-kafka, with a `transactional.id`.
        name: that id.
        user: who we are to the brokers, for the ACL in a hint.
        check: raises what the producer was told outside of calls.
    """

    def __init__(self, producer: Any, name: str, user: str, check: Callable[[], None]) -> None:
        self._producer = producer
        self._name = name
        self._user = user
        self._check = check
        self._ready = False
        self._is_committing = False
        self.is_open = False

    def begin(self, deadline_s: float) -> None:
        """Begin one; what an earlier one left open is aborted first."""
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
        self.is_open, self._is_committing = True, False

    def commit(
        self, offsets: list[TopicPartition], group_metadata: object, deadline_s: float
    ) -> None:
        """Commit the open one; goes on with a commit that got no answer."""
        self.must_be_open()
        end_s = time.monotonic() + deadline_s
        try:
            if offsets and not self._is_committing:
                self._repeat(
                    lambda turn_s: self._producer.send_offsets_to_transaction(
                        offsets, group_metadata, turn_s
                    ),
                    end_s,
                )
            self._is_committing = True
            self._repeat(self._producer.commit_transaction, end_s)
        except KafkaException as failure:
            error = failure.args[0]
            if error.txn_requires_abort():
                self.abort(max(_TURN_S, end_s - time.monotonic()))
                self._check()  # a record that was refused says more than the transaction does
                raise self._aborted(error) from None
            raise self._error(error, "it isn't known yet whether the commit holds") from None
        self.is_open = self._is_committing = False

    def abort(self, deadline_s: float) -> None:
        """Take the open one back, if there is one."""
        if not self.is_open:
            return
        try:
            self._repeat(self._producer.abort_transaction, time.monotonic() + deadline_s)
        except KafkaException as failure:
            raise self._error(failure.args[0], "can't abort the transaction") from None
        self.is_open = self._is_committing = False

    def must_be_open(self) -> None:
        """Raise `StateError` outside of a transaction."""
        if not self.is_open:
            raise StateError("no transaction was begun", where=self._name, hint="call begin first")

    def _repeat(self, call: Callable[[float], object], end_s: float) -> None:
        """Call until it is through, fails for good, or the time is up."""
        while True:
            left_s = end_s - time.monotonic()
            try:
                call(max(0.1, min(_TURN_S, left_s)))
                return
            except KafkaException as failure:
                self._producer.poll(0)
                if not failure.args[0].txn_requires_abort():
                    self._check()
                if not failure.args[0].retriable() or left_s <= _TURN_S:
                    raise
            time.sleep(_PAUSE_S)

    def _aborted(self, error: KafkaError) -> ClaimtraceError:
        ours = error_of(error, "the transaction was aborted", self._name, user=self._user)
        if isinstance(ours, StoreUnavailable):
            return Aborted(ours.what, where=self._name, hint="begin again and send the same")
        return ours

    def _error(self, error: KafkaError, what: str) -> ClaimtraceError:
        ours = error_of(error, what, self._name, user=self._user)
        if isinstance(ours, StoreUnavailable) and not error.retriable():
            return StateError(ours.what, where=self._name, hint="close this producer")
        return ours
