"""A topic followed as it grows, on whichever log the setting `source` names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from claimtrace.clock import HOUR_MS
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import UsageError
from claimtrace.events import Record
from claimtrace.settings.schema import KINESIS

from ...transports.choice import open_transport
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from claimtrace.adapters.embedded_log.log import EmbeddedLog

_PAGE: Final = 1_000
_PAUSE_S: Final = 0.1
_BACK_MS: Final = HOUR_MS
"""How far back a Kinesis stream, which can't be read from its end, is read for the last records."""


def follow(workspace: Workspace, topic: str, last: int) -> Iterator[list[Record]]:
    """Yield the last records of a topic in one page, by time, and then what comes, page by page.

    After each wait in which nothing came an empty page is yielded. It doesn't end by itself.

    Args:
        workspace: with the settings.
        topic: the topic.
        last: the number of records in the first page; fewer where the topic has fewer.

    Raises:
        UsageError: there is no such topic yet.
    """
    pages = _pages(workspace, topic, last)
    before = sorted(next(pages), key=lambda each: (each.log_time_ms, each.partition, each.position))
    yield before[-last:] if last else []
    yield from pages


def _pages(workspace: Workspace, topic: str, last: int) -> Iterator[list[Record]]:
    if workspace.settings.source == "local":
        with workspace.log() as log:
            if topic not in log.topics():
                raise nothing_yet(topic)
            yield from _follow_embedded(workspace, log, topic, last)
    elif workspace.settings.source.startswith(KINESIS):
        yield from _follow_kinesis(workspace, topic, last)
    else:
        from stream.adapters.kafka.following import follow_topic

        with open_transport(workspace) as transport:
            if not transport.partitions(topic):
                raise nothing_yet(topic)
        yield from follow_topic(workspace.settings.kafka_connection, topic, last)


def nothing_yet(topic: str) -> UsageError:
    """Return the error of a topic that isn't there."""
    what = "no decision has been made yet" if topic == DECISIONS_TOPIC else f"there is no {topic}"
    return UsageError(what, where=topic, hint="run claimtrace stream; or is this another folder?")


def _follow_embedded(
    workspace: Workspace, log: EmbeddedLog, topic: str, last: int
) -> Iterator[list[Record]]:
    ends = log.ends(topic)
    at = {part: max(0, end - last) for part, end in enumerate(ends)}
    yield [each for part in at for each in log.read_range(topic, part, at[part], ends[part])]
    at = dict(enumerate(ends))
    while True:
        found: list[Record] = []
        for part, position in at.items():
            found += log.read(topic, part, position, _PAGE)
            if found and found[-1].partition == part:
                at[part] = found[-1].position + 1
        yield found
        if not found:
            workspace.clock.sleep(_PAUSE_S)


def _follow_kinesis(workspace: Workspace, topic: str, last: int) -> Iterator[list[Record]]:
    """Follow a stream: first the last records of an hour, in one page."""
    from claimtrace.adapters.aws.client import aws_client
    from claimtrace.adapters.kinesis.stream import stream_name
    from stream.adapters.kinesis.following import follow_stream
    from stream.adapters.kinesis.polling import KinesisReads

    connection, clock = workspace.settings.kinesis_connection, workspace.clock
    client = aws_client(connection.kinesis, "kinesis")
    since_ms = clock.now_ms() - (_BACK_MS if last else 0)
    name = stream_name(connection, topic)
    pages = follow_stream(KinesisReads(client), client, name, topic, since_ms, clock)
    before: list[Record] = []
    for page in pages:  # until the first round that brings nothing: the present is reached
        if not page:
            break
        before = [*before, *page][-last:] if last else []
    yield before
    yield from pages
