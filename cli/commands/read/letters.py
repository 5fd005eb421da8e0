"""Dead letters read from the log, each once, and which of them were sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from claimtrace.adapters.tables.table import Table
from claimtrace.decisions import DEAD_TOPIC
from claimtrace.errors import UsageError
from claimtrace.events import Record
from claimtrace.settings.schema import KAFKA, KINESIS
from serving.reading.dead_letter import (
    DeadLetter,
    LetterFilter,
    first_of_each,
    letter_of,
    resent_id,
)

from ...console import progress
from ...transports.choice import open_transport
from ...wiring.workspace import Workspace

PRODUCER: Final = "dead letter "
"""Start of the name under which the embedded log notes that a letter was sent again."""


def letters(workspace: Workspace, asked: LetterFilter) -> Iterator[DeadLetter]:
    """Yield the dead letters that meet a filter, in the order of the log's partitions."""
    with progress("read", None) as advance:
        for letter in first_of_each(map(letter_of, _records(workspace))):
            advance(1)
            if asked.matches(letter):
                yield letter


def one_letter(workspace: Workspace, wanted: str) -> DeadLetter:
    """Return the dead letter with a name.

    Raises:
        UsageError: there is none.
    """
    found = next(letters(workspace, LetterFilter(ids=(wanted,))), None)
    if found is None:
        raise UsageError("there is no such dead letter", where=wanted,
                         hint="claimtrace dead list shows the newest")  # fmt: skip
    return found


def _records(workspace: Workspace) -> Iterator[Record]:
    if workspace.settings.source.startswith(KINESIS):
        yield from _stream(workspace, DEAD_TOPIC)
        return
    with open_transport(workspace) as transport:
        for partition in range(transport.partitions(DEAD_TOPIC)):
            yield from transport.records(DEAD_TOPIC, partition)


def _stream(workspace: Workspace, topic: str) -> Iterator[Record]:
    from claimtrace.adapters.aws.client import aws_client
    from claimtrace.adapters.kinesis.stream import stream_name
    from stream.adapters.kinesis.polling import KinesisReads
    from stream.adapters.kinesis.whole_stream import read_stream

    connection = workspace.settings.kinesis_connection
    reads = KinesisReads(aws_client(connection.kinesis, "kinesis"))
    return read_stream(reads, stream_name(connection, topic), topic, workspace.clock)


def is_quick_to_tell(workspace: Workspace) -> bool:
    """Whether `sent_again` needs no reading of whole topics."""
    return not workspace.settings.source.startswith(KAFKA)


def sent_again(workspace: Workspace, found: Iterable[DeadLetter]) -> set[str]:
    """Return the names of those letters that were sent again.

    The embedded log and the table of Kinesis know it; on Kafka the inputs are read, from the time
    of the oldest letter on.
    """
    wanted = list(found)
    if workspace.settings.source == "local":
        with workspace.log() as log:
            return {each.id for each in wanted if log.producer_sequence(PRODUCER + each.id) >= 0}
    if workspace.settings.source.startswith(KINESIS):
        from producers.adapters.kinesis_resend import names_sent

        table = notes_table(workspace)
        return names_sent(table) & {each.id for each in wanted} if table.is_there() else set()
    return set(_sent_on_kafka(workspace, wanted))


def _sent_on_kafka(workspace: Workspace, wanted: list[DeadLetter]) -> Iterator[str]:
    from stream.adapters.kafka.following import records_since

    oldest: dict[str, int] = {}
    for each in wanted:
        if each.topic in workspace.domain.topics:
            oldest[each.topic] = min(each.log_time_ms, oldest.get(each.topic, each.log_time_ms))
    names = {each.id for each in wanted}
    for topic, since_ms in oldest.items():
        for record in records_since(workspace.settings.kafka_connection, topic, since_ms):
            if record.headers and (name := resent_id(record.headers)) in names:
                yield name


def notes_table(workspace: Workspace) -> Table:
    """Return the table that notes what was sent again to Kinesis: the workers', or one here."""
    from claimtrace.adapters.tables.choice import shared_table
    from claimtrace.adapters.tables.sqlite import SqliteTable

    shared = shared_table(workspace.settings.kinesis_connection.kinesis)
    return shared or SqliteTable(workspace.state_folder / "resent.db")


def stands_on_stream(workspace: Workspace, topic: str, key: bytes | None, value: bytes) -> int:
    """Return how often a Kinesis stream has a record with this key and these bytes."""
    return sum(
        record.value == value and (key is None or record.key == key)
        for record in _stream(workspace, topic)
    )
