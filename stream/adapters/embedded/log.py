"""The embedded log as source and output: one file, in order of log time over all partitions."""

from __future__ import annotations

from collections.abc import Sequence

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.batches.records import Records
from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC, DRIFT_TOPIC
from claimtrace.errors import StateError
from claimtrace.events import Outgoing

from ...journal.plan import Range, TopicPartition, in_plan_order
from ...journal.source import ByPosition

PRODUCER = "stream"
"""The name under which the log stores the number of the last plan whose effects it holds."""


class EmbeddedSource(ByPosition):
    """Reads the domain's topics from an embedded log; creates those that don't exist.

    Without `create` it writes nothing, and only `fetch` may be used if a topic doesn't exist.
    """

    def __init__(
        self, log: EmbeddedLog, topics: Sequence[str], partitions: int, *, create: bool = True
    ) -> None:
        self._log = log
        self._topics = tuple(topics)
        for topic in topics if create else ():
            log.create_topic(topic, partitions)

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by their topics' places in `topics` from now on."""
        self._topics = tuple(topics)

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Records:
        """Return the next records in order of log time; empty when there are none now."""
        return self._log.merged(self._topics, positions, most)

    def fetch(self, ranges: Sequence[Range]) -> Records:
        """Return exactly the records of a plan, in plan order.

        Raises:
            StateError: the log no longer has them.
        """
        parts: list[Records] = []
        for span in ranges:
            found = self._log.read_range(
                span.topic, span.partition, span.from_position, span.to_position
            )
            if len(found) != span.to_position - span.from_position:
                raise StateError(
                    f"the log no longer has {span.topic}/{span.partition} from "
                    f"{span.from_position} to {span.to_position}",
                    where="journal",
                    hint="keep the log at least as long as the time between two snapshots",
                )
            parts.append(found)
        return in_plan_order(Records.joined(parts), self._topics)


class EmbeddedOutput:
    """Writes effects to the same log: those of a plan in one transaction, once."""

    def __init__(self, log: EmbeddedLog, partitions: int) -> None:
        self._log = log
        for topic in (DECISIONS_TOPIC, DEAD_TOPIC):
            log.create_topic(topic, partitions)
        for topic in (DRIFT_TOPIC, ALERTS_TOPIC):
            log.create_topic(topic, 1)

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Append the records of a plan; nothing is appended for a plan that the log holds."""
        self._log.append(outgoing, producer=(PRODUCER, plan))

    def flush(self) -> None:
        """Do nothing: an append is durable when it returns."""

    def abort(self) -> None:
        """Do nothing: a plan that is emitted again is recognised by its number."""
