"""Kinesis streams as the log: one worker with its journal in its folder, or several that share
a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.adapters.kinesis.read_capacity import read_capacity
from claimtrace.clock import duration_ms
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import ConfigError, StateError
from claimtrace.events import Record

from .base import Said, Stopping, Transport

if TYPE_CHECKING:
    from claimtrace.adapters.kinesis.stream import Stream
    from claimtrace.adapters.tables.table import Table
    from stream.adapters.kinesis.fan_out import FanOutReads
    from stream.adapters.kinesis.polling import KinesisReads
    from stream.adapters.kinesis.source import KinesisSource
    from stream.adapters.kinesis.table_journal import TableJournal
    from stream.journal.plan import Plan
    from stream.journal.terms import Terms
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Session

_ALL_PARTITIONS = 0
"""Terms on Kinesis: the streams say how many shards there are, and more may come."""
_SAMPLE_S = 10


class KinesisTransport(Transport):
    """The streams whose common name the setting `source` has."""

    idle_s = 0.02
    may_repeat = True

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._open: list[Callable[[], None]] = []
        self._source: KinesisSource | None = None
        self._client: Any = None
        self._streams: dict[str, Stream] = {}
        self._decisions: dict[int, list[Record]] | None = None

    def source(self) -> KinesisSource:
        """Reads the inputs."""
        return self._make_source(self._reads(), lambda _: None, None)

    def plans(self, from_number: int = 1) -> Iterator[Plan]:
        """The journal's plans, without opening it for writing."""
        from stream.adapters.embedded.file_journal import read_plans, read_terms
        from stream.adapters.kinesis.table_journal import TableJournal

        table = self._table()
        if table is not None:
            journal = TableJournal(table, None, self.session.clock)
            journal.terms.check_same(self._terms(journal.terms.topic_ids), table.name)
            return journal.read(from_number)
        path = self.session.journal_path
        begun = read_terms(path)
        begun.check_same(self._terms(begun.topic_ids), str(path))
        return read_plans(path, from_number)

    def partitions(self, topic: str) -> int:
        """One more than the highest shard; decisions stand under the shard of their claim."""
        if topic in (DECISIONS_TOPIC, DEAD_TOPIC):
            topic = self.session.domain.claim.topic
        shards = self._reads().shards(self._stream_of(topic))
        return max((shard.number for shard in shards), default=-1) + 1

    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """All records of a partition, or the last so many; decisions by the place of their claim,
        each repetition beside the first."""
        from stream.adapters.kinesis.whole_stream import by_claim, read_stream

        stream, clock = self._stream_of(topic), self.session.clock
        if topic == DECISIONS_TOPIC:
            if self._decisions is None:
                self._decisions = by_claim(read_stream(self._reads(), stream, topic, clock))
            found = self._decisions.get(partition, [])
        else:
            every = read_stream(self._reads(), stream, topic, clock)
            found = [record for record in every if record.partition == partition]
        return iter(found if last is None else found[-last:])

    def driver(self, said: Said, watching: WorkerObserver, stopping: Stopping) -> Driver:
        """The one worker, or one of several that share a table; the caller holds `alone`.

        Raises:
            StateError: a stream was made anew since the journal was begun, or the journal was lost.
        """
        from producers.adapters.kinesis import KinesisSink
        from stream.adapters.embedded.file_journal import FileJournal, read_terms
        from stream.adapters.kinesis.output import KinesisOutput
        from stream.adapters.kinesis.table_journal import TableJournal

        session, table = self.session, self._table()
        ids = [self._described(topic).identity for topic in session.domain.topics]
        terms = self._terms(ids)
        journal: Any
        if table is None:
            journal = FileJournal(session.journal_path, terms)
            begun, where = read_terms(session.journal_path), str(session.journal_path)
        else:
            journal = TableJournal(table, terms, session.clock)
            begun, where = journal.terms, table.name
        self._open.append(journal.close)
        if begun.topic_ids != ids:
            raise StateError(
                "a stream was made anew since the journal was begun: its positions mean other "
                "records", where=where,
                hint="start with a new folder, table, and output streams of another name",
            )  # fmt: skip
        output = KinesisOutput(
            KinesisSink(session.settings.kinesis_connection, session.clock, self._kinesis())
        )
        self._open.append(output.close)
        source = self._make_source(self._worker_reads(), said, watching)
        shared = {} if table is None else self._shared(journal, source, table)
        return session.driver(
            source, journal, output, said, watching, stopping, terms=begun, **shared
        )

    def _shared(self, journal: TableJournal, source: KinesisSource, table: Table) -> dict[str, Any]:
        """What a driver is given to share the work with others."""
        from stream.adapters.kinesis.table_leases import TableLeases
        from stream.group.lease_group import LeaseGroup

        kinesis = self.session.settings.kinesis

        group = LeaseGroup(
            uuid4().hex, TableLeases(table), source.lineage, self.session.clock,
            duration_ms(kinesis.lease_time) / 1000, source.finished, source.share_with,
        )  # fmt: skip
        self._open.append(group.leave)
        if journal.is_empty and group.marks(source.topic_partitions()):
            raise StateError(
                "the journal is empty, but workers have said how far they came", where=table.name,
                hint="restore the table; or start anew: another table and new output streams",
            )  # fmt: skip
        return {
            "group": group,
            "commit_every_s": duration_ms(kinesis.commit_every) / 1000,
            "scorer_of": self.shared_scorer_of,
        }

    def _table(self) -> Table | None:
        from claimtrace.adapters.tables.choice import shared_table

        return shared_table(self.session.settings.kinesis)

    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """All that had arrived by now."""
        assert self._source is not None
        source, now_ms = self._source, self.session.clock.now_ms()
        return lambda _: source.is_caught_up(now_ms)

    def waiting_records(self) -> int | None:
        """Nobody knows without reading."""
        return None

    def report(self, positions: dict[tuple[str, int], int], watching: WorkerObserver) -> None:  # noqa: ARG002
        """Tell the metrics where the worker is."""
        if self._source is not None:
            self._source.report(positions)

    def check_reading(self) -> str:
        """How the workers stand to what a shard gives away a second.

        Raises:
            ConfigError: they should be pushed to; or a consumer can't be used.
        """
        from stream.adapters.kinesis.fan_out import FanOutReads
        from stream.adapters.kinesis.table_leases import TableLeases

        session, table = self.session, self._table()
        name = session.settings.kinesis.fan_out
        streams = [self._stream_of(topic) for topic in session.domain.topics]
        if name:
            consumers = FanOutReads(self._kinesis(), name, session.clock)
            there = sum(consumers.is_registered(stream) for stream in streams)
            said = f"pushed to as {name}, registered on {there} of {len(streams)} input streams"
            return said if there else f"{said}; claimtrace stream registers it"
        workers = max(len(TableLeases(table).beats()), 1) if table is not None else 1
        reads = self._reads()
        fullest = max(
            reads.bytes_a_second(stream, shard.number, session.clock.now_ms(), _SAMPLE_S)
            for stream in streams
            for shard in reads.shards(stream)
            if not shard.is_closed
        )
        found = read_capacity(workers, fullest)
        said = (
            f"workers: {workers}, each reads each shard every {found.every_s:.1f} s; the fullest "
            f"took in {fullest / 1e6:.3f} MB/s, they read {found.share:.0%} of what it gives away"
        )
        if found.needs_fan_out:
            raise ConfigError(
                said, where="kinesis.fan_out", hint="enhanced fan-out is needed: give each worker "
                "a kinesis.fan_out of its own; or have fewer workers, or more shards",
            )  # fmt: skip
        return said

    def alone(self) -> FolderLock:
        """Each worker has a folder of its own for its state."""
        return FolderLock(self.session.state_folder)

    def close(self) -> None:
        """Let go of the streams."""
        for close in reversed(self._open):
            close()
        self._open.clear()

    def _make_source(
        self, reads: KinesisReads | FanOutReads, said: Said, watching: WorkerObserver | None
    ) -> KinesisSource:
        from stream.adapters.kinesis.source import KinesisSource

        session = self.session
        streams = {topic: self._stream_of(topic) for topic in session.domain.topics}
        kept_ms = min(self._described(topic).retention_ms for topic in streams)
        goes_on = session.settings.kinesis.on_lost_records == "earliest"

        def on_lost(what: str) -> None:
            if not goes_on:
                raise StateError(
                    what, where="source", hint="kinesis.on_lost_records = earliest goes on "
                    "without them; have the streams keep records longer",
                )  # fmt: skip
            said(f"{what}: going on without what is gone")

        made = KinesisSource(reads, streams, session.clock, on_lost, kept_ms, watching)
        self._open.append(made.close)
        self._source = made
        return made

    def _kinesis(self) -> Any:
        from claimtrace.adapters.aws.client import aws_client

        if self._client is None:
            self._client = aws_client(self.session.settings.kinesis, "kinesis")
        return self._client

    def _reads(self) -> KinesisReads:
        from stream.adapters.kinesis.polling import KinesisReads

        return KinesisReads(self._kinesis())

    def _worker_reads(self) -> KinesisReads | FanOutReads:
        """How a worker reads: it polls, or the streams push."""
        from stream.adapters.kinesis.fan_out import FanOutReads

        session, name = self.session, self.session.settings.kinesis.fan_out
        if not name:
            return self._reads()
        reads = FanOutReads(self._kinesis(), name, session.clock)
        self._open.append(reads.close)
        for topic in session.domain.topics:
            reads.register(self._stream_of(topic))
        return reads

    def _stream_of(self, topic: str) -> str:
        from claimtrace.adapters.kinesis.stream import stream_name

        return stream_name(self.session.settings.kinesis_connection, topic)

    def _described(self, topic: str) -> Stream:
        """What a topic's stream says of itself; asked once."""
        from claimtrace.adapters.kinesis.stream import describe

        if topic not in self._streams:
            self._streams[topic] = describe(self._kinesis(), self._stream_of(topic))
        return self._streams[topic]

    def _terms(self, topic_ids: list[str]) -> Terms:
        terms = self.session.terms()
        return msgspec.structs.replace(terms, partitions=_ALL_PARTITIONS, topic_ids=topic_ids)
