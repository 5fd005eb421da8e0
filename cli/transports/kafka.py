"""A Kafka cluster as the log: inputs, journal and outputs are topics, workers share a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

from claimtrace.clock import duration_ms
from claimtrace.decisions import DECISIONS_TOPIC, JOURNAL_TOPIC
from claimtrace.errors import NoJournal, StateError
from claimtrace.events import Record

from ..wiring.opened_log import OpenedLog
from .base import Transport

if TYPE_CHECKING:
    from stream.adapters.kafka.group import KafkaGroup
    from stream.adapters.kafka.journal import KafkaJournal
    from stream.adapters.kafka.output import KafkaOutput
    from stream.adapters.kafka.source import KafkaSource
    from stream.journal.plan import Plan
    from stream.journal.source import Source
    from stream.journal.terms import Terms
    from stream.proofs.coverage import DecisionsEnd
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Workspace


_JOURNAL_LOST = "the journal is empty, but there are decisions"
_ANEW = "restore the journal's topic; or start anew: another kafka.group and new output topics"


class KafkaTransport(Transport):
    """The cluster that the setting `source` names."""

    idle_s = 0.005
    may_repeat = True

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._connection = workspace.settings.kafka_connection
        self._source: KafkaSource | None = None
        self._reader: KafkaJournal | None = None

    def check_reachable(self, patience_s: float) -> None:
        """Ask whether any broker answers."""
        from claimtrace.adapters.kafka.topics_admin import check_reachable

        check_reachable(self._connection, patience_s)

    def source(self) -> KafkaSource:
        """Open a reader of the inputs."""
        return self._open_source(None)

    def plans(self, from_number: int = 1, *, any_terms: bool = False) -> Iterator[Plan]:
        """Return the journal's plans."""
        journal = self._journal_reader() if any_terms else self.journal()
        return iter(plan for plan in journal.read(1) if plan.number >= from_number)

    def terms(self) -> Terms:
        """Return the terms that the journal was begun with."""
        return self._journal_reader().terms

    def journal(self) -> KafkaJournal:
        """Open the journal that there is, to append to it."""
        journal = self._journal_reader()
        journal.terms.check_same(self._shared_terms(journal.terms.topic_ids), JOURNAL_TOPIC)
        return journal

    @property
    def shares_journal(self) -> bool:
        """True: every worker may append to the topic."""
        return True

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        from stream.adapters.kafka.whole_topic import partitions_of

        return partitions_of(self._connection, topic)

    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """Return all committed records of a partition, or about the last `last`."""
        from stream.adapters.kafka.whole_topic import read_partition

        return read_partition(self._connection, topic, partition, last)

    def decision_ends(self) -> dict[int, DecisionsEnd]:
        """Return the ends, with the plans up to which the group has committed."""
        from stream.adapters.kafka.whole_topic import decision_ends

        claims = self.workspace.domain.claim.topic
        return decision_ends(self._connection, claims, self.workspace.clock)

    def open_log(self, observer: WorkerObserver) -> OpenedLog:
        """Open the parts for one of the workers."""
        from stream.adapters.kafka.group import KafkaGroup

        source = self._open_source(observer)
        journal, output = self._open_journal_and_output()
        topics, clock = self.workspace.domain.topics, self.workspace.clock
        group = KafkaGroup(self._connection, topics, clock, output)
        return self._with_group(source, journal, output, group)

    def _journal_reader(self) -> KafkaJournal:
        """Return a reader of the journal; it is opened once."""
        from stream.adapters.kafka.journal import KafkaJournal

        if self._reader is None:
            self._reader = KafkaJournal(self._connection, None, self.workspace.clock)
            self._opened.callback(self._reader.close)
        return self._reader

    def _open_journal_and_output(self) -> tuple[KafkaJournal, KafkaOutput]:
        """Open the journal, begun under these terms and for these very topics, and the output."""
        from stream.adapters.kafka.journal import KafkaJournal
        from stream.adapters.kafka.output import KafkaOutput

        kafka, ids = self._connection.kafka, self._topic_ids()
        journal = KafkaJournal(self._connection, self._shared_terms(ids), self.workspace.clock)
        self._opened.callback(journal.close)
        _check_topics(journal.terms.topic_ids, ids)
        own_id = f"{kafka.group}-{kafka.instance or uuid4().hex}"
        exactly_once = kafka.output == "exactly_once"
        output = KafkaOutput(self._connection, own_id if exactly_once else "")
        self._opened.callback(output.close)
        return journal, output

    def _with_group(
        self, source: Source, journal: KafkaJournal, output: KafkaOutput, group: KafkaGroup
    ) -> OpenedLog:
        """Return the opened log.

        Raises:
            StateError: the group has committed, but the journal is empty: it was lost.
        """
        self._opened.callback(group.leave)
        kafka = self._connection.kafka
        if journal.is_empty and group.checkpoints(group.topic_partitions()):
            raise StateError(
                f"the journal is empty, but the group {kafka.group} has committed",
                where=JOURNAL_TOPIC,
                hint=_ANEW,
            )
        # asked twice: another worker may have begun the journal and decided in between
        if journal.is_empty and self._has_decisions() and journal.is_empty:
            raise StateError(_JOURNAL_LOST, where=JOURNAL_TOPIC, hint=_ANEW)
        parts = self._log_parts(source, journal, output, group)
        return OpenedLog(parts, journal.terms, duration_ms(kafka.commit_every) / 1000)

    def disagreements(self) -> list[str]:
        """Return a sentence when the journal was lost, or is of topics that were made anew."""
        from stream.adapters.kafka.journal import KafkaJournal

        try:
            journal = KafkaJournal(self._connection, None, self.workspace.clock)
        except NoJournal:
            return [_JOURNAL_LOST] if self._has_decisions() else []
        self._opened.callback(journal.close)
        try:
            _check_topics(journal.terms.topic_ids, self._topic_ids())
        except StateError as error:
            return [error.what]
        is_lost = journal.is_empty and self._has_decisions() and journal.is_empty
        return [_JOURNAL_LOST] if is_lost else []

    def _has_decisions(self) -> bool:
        from stream.adapters.kafka.whole_topic import has_records

        return has_records(self._connection, DECISIONS_TOPIC)

    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """Fix the ends of all partitions as of now."""
        assert self._source is not None
        source = self._source
        ends = {each: end for each, end in source.ends().items() if end > 0}
        return lambda positions: all(
            positions.get(each, 0) >= end or source.is_through(each, end)
            for each, end in ends.items()
        )

    def report(
        self,
        positions: dict[tuple[str, int], int],
        observer: WorkerObserver,  # noqa: ARG002
    ) -> None:
        """Have the source report positions and ends to its observer."""
        if self._source is not None:
            self._source.report(positions)

    def _open_source(self, observer: WorkerObserver | None) -> KafkaSource:
        from stream.adapters.kafka.source import KafkaSource

        topics, clock = self.workspace.domain.topics, self.workspace.clock
        source = KafkaSource(self._connection, topics, clock, observer, self._topic_ids)
        self._opened.callback(source.close)
        self._source = source
        return source

    def _topic_ids(self) -> list[str]:
        from claimtrace.adapters.kafka.topics_admin import topic_ids

        topics = self.workspace.domain.topics
        found = topic_ids(self._connection, topics)
        return [found.get(topic, "") for topic in topics]


def _check_topics(begun: list[str], now: list[str]) -> None:
    """Refuse topics that were made anew: their positions mean other records.

    Raises:
        StateError: an input's id is not the one that the journal was begun with.
    """
    if begun != now:
        raise StateError(
            "an input topic was made anew since the journal was begun",
            where=JOURNAL_TOPIC,
            hint="start with new topics, journal included, another kafka.group and a new folder",
        )
