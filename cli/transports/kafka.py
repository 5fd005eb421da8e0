"""A Kafka cluster as the log: inputs, journal and outputs are topics, workers share a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.clock import duration_ms
from claimtrace.decisions import JOURNAL_TOPIC
from claimtrace.errors import StateError
from claimtrace.events import Record

from .base import Said, Stopping, Transport

if TYPE_CHECKING:
    from stream.adapters.kafka.group import KafkaGroup
    from stream.adapters.kafka.journal import KafkaJournal
    from stream.adapters.kafka.output import KafkaOutput
    from stream.adapters.kafka.source import KafkaSource
    from stream.journal.plan import Plan
    from stream.journal.source import Source
    from stream.journal.terms import Terms
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Session

_ALL_PARTITIONS = 0
"""Terms on Kafka: the topics say how many partitions there are, and more may come."""


class KafkaTransport(Transport):
    """The cluster that the setting `source` names."""

    idle_s = 0.005
    may_repeat = True

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._open: list[Callable[[], None]] = []
        self._source: KafkaSource | None = None

    def source(self) -> KafkaSource:
        """Reads the inputs."""
        return self._make_source(lambda _: None, None)

    def plans(self, from_number: int = 1) -> Iterator[Plan]:
        """The journal's plans."""
        from stream.adapters.kafka.journal import KafkaJournal

        session = self.session
        journal = KafkaJournal(session.settings.kafka_connection, None, session.clock)
        self._open.append(journal.close)
        journal.terms.check_same(self._terms(journal.terms.topic_ids), JOURNAL_TOPIC)
        return iter(plan for plan in journal.read(1) if plan.number >= from_number)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        from stream.adapters.kafka.whole_topic import partitions_of

        return partitions_of(self.session.settings.kafka_connection, topic)

    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """All records of a partition, or about the last so many; committed ones only."""
        from stream.adapters.kafka.whole_topic import read_partition

        return read_partition(self.session.settings.kafka_connection, topic, partition, last)

    def driver(self, said: Said, watching: WorkerObserver, stopping: Stopping) -> Driver:
        """One of the workers."""
        from stream.adapters.kafka.group import KafkaGroup

        source = self._make_source(said, watching)
        journal, output = self.journal_and_output()
        session = self.session
        group = KafkaGroup(
            session.settings.kafka_connection, session.domain.topics, session.clock, output
        )
        return self.assembled(source, journal, output, group, said, watching, stopping)

    def journal_and_output(self) -> tuple[KafkaJournal, KafkaOutput]:
        """The journal, begun under our terms and for these very topics; and where effects go."""
        from stream.adapters.kafka.journal import KafkaJournal
        from stream.adapters.kafka.output import KafkaOutput

        session, settings = self.session, self.session.settings
        ids = self._topic_ids()
        journal = KafkaJournal(settings.kafka_connection, self._terms(ids), session.clock)
        self._open.append(journal.close)
        _check_topics(journal.terms.topic_ids, ids)
        name = settings.kafka.instance or uuid4().hex
        exactly_once = settings.kafka.output == "exactly_once"
        output = KafkaOutput(
            settings.kafka_connection, f"{settings.kafka.group}-{name}" if exactly_once else ""
        )
        self._open.append(output.close)
        return journal, output

    def assembled(
        self,
        source: Source,
        journal: KafkaJournal,
        output: KafkaOutput,
        group: KafkaGroup,
        said: Said,
        watching: WorkerObserver,
        stopping: Stopping,
    ) -> Driver:
        """A driver over its parts.

        Raises:
            StateError: the group has committed, but the journal is empty: it was lost.
        """
        settings = self.session.settings
        self._open.append(group.leave)
        if journal.is_empty and group.marks(group.topic_partitions()):
            raise StateError(
                f"the journal is empty, but the group {settings.kafka.group} has committed",
                where=JOURNAL_TOPIC,
                hint="restore the journal's topic; or start anew: another kafka.group and new "
                "output topics",
            )
        return self.session.driver(
            source,
            journal,
            output,
            said,
            watching,
            stopping,
            group=group,
            commit_every_s=duration_ms(settings.kafka.commit_every) / 1000,
            scorer_of=self.shared_scorer_of,
            terms=journal.terms,
        )

    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """The ends of all partitions as of now."""
        assert self._source is not None
        source = self._source
        ends = {topic_partition: end for topic_partition, end in source.ends().items() if end > 0}
        return lambda positions: all(
            positions.get(topic_partition, 0) >= end or source.is_through(topic_partition, end)
            for topic_partition, end in ends.items()
        )

    def waiting_records(self) -> int | None:
        """Nobody knows without reading: retention and markers make gaps."""
        return None

    def report(self, positions: dict[tuple[str, int], int], watching: WorkerObserver) -> None:  # noqa: ARG002
        """Tell the metrics where the worker is."""
        if self._source is not None:
            self._source.report(positions)

    def alone(self) -> FolderLock:
        """Each worker has a folder of its own for its snapshots."""
        return FolderLock(self.session.state_folder)

    def close(self) -> None:
        """Let go of the brokers; the group first, so that others take over at once."""
        for close in reversed(self._open):
            close()
        self._open.clear()

    def _make_source(self, said: Said, watching: WorkerObserver | None) -> KafkaSource:
        from stream.adapters.kafka.source import KafkaSource

        session = self.session
        made = KafkaSource(
            session.settings.kafka_connection,
            session.domain.topics,
            session.clock,
            said,
            watching,
            self._topic_ids,
        )
        self._open.append(made.close)
        self._source = made
        return made

    def _terms(self, topic_ids: list[str]) -> Terms:
        terms = self.session.terms()
        return msgspec.structs.replace(terms, partitions=_ALL_PARTITIONS, topic_ids=topic_ids)

    def _topic_ids(self) -> list[str]:
        from claimtrace.adapters.kafka.topics_admin import topic_ids

        topics = self.session.domain.topics
        found = topic_ids(self.session.settings.kafka_connection, topics)
        return [found.get(topic, "") for topic in topics]


def _check_topics(begun: list[str], now: list[str]) -> None:
    """Refuse topics that were made anew: their positions mean other records."""
    if begun != now:
        raise StateError(
            "an input topic was made anew since the journal was begun",
            where=JOURNAL_TOPIC,
            hint="start with new topics, journal included, another kafka.group and a new folder",
        )
