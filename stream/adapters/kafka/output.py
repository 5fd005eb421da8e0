"""The Kafka output: records are acknowledged before the commit, or in one transaction with it."""

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
    """Sends the outgoing records of plans; `flush` waits for the acknowledgements.

    Args:
        connection: brokers, security, compression.
        transactional_id: unique to this worker; empty: no transactions.
    """

    def __init__(self, connection: KafkaConnection, transactional_id: str = "") -> None:
        self.is_transactional = bool(transactional_id)
        # the tail of a partition's decisions tells the next owner how far they go: none before it
        # may be missing, whichever of them was refused; a transaction shows all or none
        self._sink = KafkaSink(
            connection, transactional_id=transactional_id, gapless=not transactional_id
        )
        self._is_open = False

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:  # noqa: ARG002
        """Queue the records, in the open transaction if there are transactions."""
        if not outgoing:
            return
        self._begin()
        self._sink.send(outgoing)

    def flush(self) -> None:
        """Return when everything that was emitted is acknowledged.

        With transactions this does nothing: the commit of the transaction waits itself.
        """
        if not self.is_transactional:
            self._sink.flush(_DEADLINE_S)

    def commit(self, offsets: list[TopicPartition], group_metadata: object) -> None:
        """Commit the transaction together with the group's offsets.

        Raises:
            Superseded: the transaction was aborted, so none of its records is visible; take over
                what this worker still owns, and send it again.
        """
        self._begin()
        try:
            self._sink.commit(offsets, group_metadata)
        except (Fenced, Aborted) as error:
            self._is_open = False
            raise Superseded(error.what, where=error.where) from error
        self._is_open = False

    def abort(self) -> None:
        """Abort the open transaction; this worker or the next owner sends its records again."""
        if self.is_transactional and self._is_open:
            self._sink.abort()
            self._is_open = False

    def close(self) -> None:
        """Close the connection to the brokers."""
        self._sink.close()

    def _begin(self) -> None:
        if self.is_transactional and not self._is_open:
            self._sink.begin()
            self._is_open = True
