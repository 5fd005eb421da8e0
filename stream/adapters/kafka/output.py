"""Effects into Kafka: acknowledged before the commit, or in one transaction with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confluent_kafka import TopicPartition

from claimtrace.adapters.kafka.errors import Fenced
from claimtrace.errors import Superseded
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KafkaConnection
from producers.adapters.kafka import Aborted, KafkaSink

_DEADLINE_S: Final = 5.0


class KafkaOutput:
    """Sends what a plan wants sent; `flush` waits for the acknowledgements.

    Args:
        connection: brokers, security, compression.
        transactional_id: of this worker alone; empty: no transactions.
    """

    def __init__(self, connection: KafkaConnection, transactional_id: str = "") -> None:
        self._sink = KafkaSink(connection, transactional_id=transactional_id)
        self.is_transactional = bool(transactional_id)
        self._is_open = False

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:  # noqa: ARG002
        """Queue the records; in a transaction, which the next commit ends."""
        if not outgoing:
            return
        self._begin()
        self._sink.send(outgoing)

    def flush(self) -> None:
        """Return when all that was emitted is acknowledged; a transaction's end waits itself."""
        if not self.is_transactional:
            self._sink.flush(_DEADLINE_S)

    def commit(self, offsets: list[TopicPartition], group_metadata: object) -> None:
        """End the transaction together with the group's offsets.

        Raises:
            Superseded: nothing of it is visible; take over what is still ours, and send it again.
        """
        self._begin()
        try:
            self._sink.commit(offsets, group_metadata)
        except (Fenced, Aborted) as error:
            self._is_open = False
            raise Superseded(error.what, where=error.where) from error
        self._is_open = False

    def abort(self) -> None:
        """Take back what a transaction holds so far: it will be sent again, by us or another."""
        if self.is_transactional and self._is_open:
            self._sink.abort()
            self._is_open = False

    def close(self) -> None:
        """Let go of the brokers."""
        self._sink.close()

    def _begin(self) -> None:
        if self.is_transactional and not self._is_open:
            self._sink.begin()
            self._is_open = True
