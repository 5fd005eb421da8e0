"""The log that the setting `source` names, opened for records that a command sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from claimtrace.decisions import DEAD_TOPIC
from claimtrace.errors import StoreUnavailable, UsageError
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KAFKA, KINESIS

from ...console import err, safe
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from producers.sending.sink import Sink

Change = Callable[[Sequence[Outgoing]], Sequence[Outgoing]]

_ROOM_S: Final = 1.0
"""How long `send` waits for room in the client's queue before it looks for Ctrl-C."""


@dataclass(frozen=True)
class Target:
    """The log to send to, and functions that count acknowledged and failed records."""

    sink: Sink
    acknowledged: Callable[[], int]
    failed: Callable[[], int]


def is_shared(workspace: Workspace) -> bool:
    """Whether the log is a cluster or a stream, where the key's partition is the client's affair.

    Other clients then agree on the partition of a key.
    """
    return workspace.settings.source != "local"


@contextmanager
def open_target(workspace: Workspace, *, dead_topic: bool = False) -> Iterator[Target]:
    """Open the log that `source` names, and close it at the end.

    Args:
        workspace: with the settings.
        dead_topic: make the topic of dead letters in an embedded log.
    """
    if workspace.settings.source.startswith(KAFKA):
        from producers.adapters.kafka import KafkaSink

        sink = KafkaSink(workspace.settings.kafka_connection, send_deadline_s=_ROOM_S)
        try:
            yield Target(sink, lambda: sink.acknowledged, lambda: sink.failed)
        finally:
            sink.close()
        return
    if workspace.settings.source.startswith(KINESIS):
        from producers.adapters.kinesis import KinesisSink

        to_streams = KinesisSink(workspace.settings.kinesis_connection, workspace.clock)
        try:
            yield Target(to_streams, lambda: to_streams.acknowledged, lambda: 0)
        finally:
            to_streams.close()
        return
    from producers.adapters.embedded import EmbeddedSink

    arrived: list[int] = []
    log = workspace.log(create=True)
    try:
        if dead_topic:
            log.create_topic(DEAD_TOPIC, workspace.settings.partitions)
        yield Target(EmbeddedSink(log, arrived.append), lambda: sum(arrived), lambda: 0)
    finally:
        log.close()


def framing(workspace: Workspace) -> list[Change]:
    """Return the change that frames values for the schema registry of the settings, if any."""
    if not (workspace.settings.schemas.registry and workspace.settings.source.startswith(KAFKA)):
        return []
    from claimtrace.schemas.adapters.registry import Encoder

    encoder = Encoder(workspace.settings.schemas, list(workspace.domain.events))

    def frame(record: Outgoing) -> Outgoing:
        if record.value is None or record.topic == DEAD_TOPIC:
            return record
        try:
            return record._replace(value=encoder.encode(record.topic, record.value))
        except UsageError:  # a malformed event has no Avro form: it goes as the bytes it is
            return record

    return [lambda records: [frame(record) for record in records]]


def send(
    sink: Sink, outgoing: Sequence[Outgoing], stopping: Callable[[], bool], advance: Any
) -> bool:
    """Send a batch, however long the log is down; False when a stop was asked for first."""
    told = False
    while True:
        try:
            sink.send(outgoing)
            return True
        except StoreUnavailable as error:
            advance(0, f"waiting: {safe(error.what)}")
            if not told and not err.is_terminal:
                err.print(f"[yellow]waiting:[/] {safe(error)}")
                told = True
        if stopping():
            return False
