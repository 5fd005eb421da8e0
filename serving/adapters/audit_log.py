"""The audit on a log: the file `audit.db` beside the embedded log, or the topic of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import AUDIT_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.ids import partition_of
from producers.sending.sink import Sink

from ..audit.event import EMBEDDED_WRITER, Draft, Head, head_of, read_event, seal_event

FLUSH_S: Final = 5.0
"""How long the acknowledgement of a cluster is waited for."""
_ANY_PARTITION: Final = -1
_PAGE: Final = 2_000


class NotAcknowledged(StoreUnavailable):
    """The events were taken, and are sent until the cluster has them: don't append them again."""


class AuditLog(Protocol):
    """The audit's place; one thread uses it at a time.

    Raises, from any method:
        NotAcknowledged: the events are on their way.
        StoreUnavailable: the log doesn't answer now; none of the events was taken.
    """

    def append(self, drafts: Sequence[Draft]) -> None:
        """Link events into the chain and make them durable."""

    def close(self) -> None:
        """Release the log."""


class EmbeddedAudit:
    """The audit in a file of its own, so that it never waits for the stream's commits.

    All processes write one chain: the last event is read in the transaction that appends the next.

    >>> import tempfile
    >>> from ..audit.event import Actor
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     audit = EmbeddedAudit(Path(folder) / "audit.db", 4)
    ...     audit.append([Draft(kind="key.added", at_ms=1, actor=Actor("os:ann@host"))])
    ...     [read_event(record.value).event_id for record in audit.records()]
    ...     audit.close()
    ['log-1']
    """

    def __init__(self, path: Path, partitions: int, *, to_read: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = EmbeddedLog(path, create=not to_read, to_read=to_read)
        self._partitions = self._log.topics().get(AUDIT_TOPIC, 0)
        if not self._partitions and not to_read:
            self._partitions = partitions
            self._log.create_topic(AUDIT_TOPIC, partitions)

    def append(self, drafts: Sequence[Draft]) -> None:
        """Link events into the one chain and make them durable, in one commit."""
        with self._log.transaction():
            head, outgoing = self._head(), []
            for draft in drafts:
                value, head = seal_event(draft, EMBEDDED_WRITER, head)
                key = draft.claim_id or draft.actor.id
                partition = partition_of(key, self._partitions)
                outgoing.append(Outgoing(AUDIT_TOPIC, partition, key.encode(), value, draft.at_ms))
            self._log.append(outgoing)

    def records(self) -> Iterator[Record]:
        """Yield all records, partition by partition."""
        for partition, end in enumerate(self._log.ends(AUDIT_TOPIC) if self._partitions else ()):
            for start in range(0, end, _PAGE):
                yield from self._log.read(AUDIT_TOPIC, partition, start, min(_PAGE, end - start))

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _head(self) -> Head:
        """Return the head of the chain: the newest event is the last one of its partition."""
        newest = Head()
        for partition in range(self._partitions):
            last = self._log.last(AUDIT_TOPIC, partition)
            event = read_event(last.value) if last is not None else None
            if last is not None and event is not None and event.sequence > newest.sequence:
                newest = head_of(last.value or b"", event)
        return newest


class SinkAudit:
    """The audit on a topic of Kafka or a stream of Kinesis.

    Args:
        sink: the producer; it is closed with the audit.
        writer: a name that no other process has, such as one with random digits.
        wait_s: how long an acknowledgement is waited for.
    """

    def __init__(self, sink: Sink, writer: str, wait_s: float = FLUSH_S) -> None:
        self._sink, self._writer, self._wait_s = sink, writer, wait_s
        self._head = Head()

    def append(self, drafts: Sequence[Draft]) -> None:
        """Link events into this writer's chain and wait for the acknowledgement."""
        outgoing = []
        head = self._head
        for draft in drafts:
            value, head = seal_event(draft, self._writer, head)
            key = (draft.claim_id or draft.actor.id).encode()
            outgoing.append(Outgoing(AUDIT_TOPIC, _ANY_PARTITION, key, value, draft.at_ms))
        self._sink.send(outgoing)
        self._head = head
        try:
            self._sink.flush(self._wait_s)
        except StoreUnavailable as error:
            raise NotAcknowledged(error.what, where=error.where, hint=error.hint) from error

    def close(self) -> None:
        """Flush what can be flushed, and close the producer."""
        self._sink.close()
