"""Kinesis streams as the log: one worker with its journal in its folder, or several that share
a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from claimtrace.clock import duration_ms
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import ConfigError, NoJournal, StateError
from claimtrace.events import Record

from ..wiring.opened_log import OpenedLog
from .base import Transport

if TYPE_CHECKING:
    from claimtrace.adapters.kinesis.stream import Stream
    from claimtrace.adapters.tables.table import Table
    from stream.adapters.kinesis.fan_out import FanOutReads
    from stream.adapters.kinesis.polling import KinesisReads
    from stream.adapters.kinesis.source import KinesisSource
    from stream.adapters.kinesis.table_journal import TableJournal
    from stream.group.lease_group import LeaseGroup
    from stream.journal.journal import Journal
    from stream.journal.plan import Plan
    from stream.journal.terms import Terms
    from stream.proofs.coverage import DecisionsEnd
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Workspace

_SAMPLE_S = 10
_JOURNAL_LOST = "there are decisions, but the journal that explains them is gone"
_ANEW = (
    "restore the journal from a copy; or start anew: a new folder or table, and output streams of "
    "another name"
)


class KinesisTransport(Transport):
    """The streams whose common name the setting `source` has."""

    idle_s = 0.02
    may_repeat = True

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._connection = workspace.settings.kinesis_connection
        self._source: KinesisSource | None = None
        self._client: Any = None
        self._streams: dict[str, Stream] = {}
        self._decisions: dict[int, list[Record]] | None = None

    def source(self) -> KinesisSource:
        """Open a reader of the inputs."""
        return self._open_source(self._reads(), None)

    def plans(self, from_number: int = 1, *, any_terms: bool = False) -> Iterator[Plan]:
        """Return the journal's plans, without opening it for writing."""
        from stream.adapters.embedded.file_journal import read_plans, read_terms
        from stream.adapters.kinesis.table_journal import TableJournal

        table = self._table()
        if table is not None:
            journal = TableJournal(table, None, self.workspace.clock)
            if not any_terms:
                journal.terms.check_same(self._shared_terms(journal.terms.topic_ids), table.name)
            return journal.read(from_number)
        path = self.workspace.journal_path
        begun = read_terms(path)
        if not any_terms:
            begun.check_same(self._shared_terms(begun.topic_ids), str(path))
        return read_plans(path, from_number)

    def terms(self) -> Terms:
        """Return the terms that the journal was begun with."""
        from stream.adapters.embedded.file_journal import read_terms
        from stream.adapters.kinesis.table_journal import TableJournal

        table = self._table()
        if table is None:
            return read_terms(self.workspace.journal_path)
        return TableJournal(table, None, self.workspace.clock).terms

    def journal(self) -> Journal:
        """Open the journal that there is, to append to it."""
        from stream.adapters.embedded.file_journal import FileJournal
        from stream.adapters.kinesis.table_journal import TableJournal

        table, terms = self._table(), self._shared_terms(self.terms().topic_ids)
        if table is not None:
            return TableJournal(table, terms, self.workspace.clock)
        journal = FileJournal(self.workspace.journal_path, terms)
        self._opened.callback(journal.close)
        return journal

    def _journal_to_read(self) -> Journal:
        if self._table() is not None:
            return self.journal()
        return self._file_to_read(self._shared_terms(self.terms().topic_ids))

    @property
    def shares_journal(self) -> bool:
        """Whether several workers append to the journal."""
        return self._table() is not None

    def partitions(self, topic: str) -> int:
        """Return one more than the highest shard; a decision has the shard of its claim."""
        if topic in (DECISIONS_TOPIC, DEAD_TOPIC):
            topic = self.workspace.domain.claim.topic
        shards = self._reads().shards(self._stream_of(topic))
        return max((shard.number for shard in shards), default=-1) + 1

    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """Return all records of a shard, or the last `last`.

        Decisions are ordered by the position of their claim, each repetition beside the first.
        """
        from stream.adapters.kinesis.whole_stream import by_claim, read_stream

        stream, clock = self._stream_of(topic), self.workspace.clock
        if topic == DECISIONS_TOPIC:
            if self._decisions is None:
                self._decisions = by_claim(read_stream(self._reads(), stream, topic, clock))
            found = self._decisions.get(partition, [])
        else:
            every = read_stream(self._reads(), stream, topic, clock)
            found = [record for record in every if record.partition == partition]
        return iter(found if last is None else found[-last:])

    def decision_ends(self) -> dict[int, DecisionsEnd]:
        """Read all decisions, and return the plans up to which workers have committed."""
        from stream.adapters.kinesis.table_leases import TableLeases
        from stream.adapters.snapshots.reached_file import ReachedFile
        from stream.proofs.coverage import EVERY_PLAN, DecisionsEnd

        claims, table = self.workspace.domain.claim.topic, self._table()
        plans: dict[int, int] = {}
        rest = EVERY_PLAN
        if table is not None:
            for lease in TableLeases(table).leases():
                if lease.topic_partition[0] == claims and lease.checkpoint is not None:
                    plans[lease.topic_partition[1]] = lease.checkpoint.emitted
            rest = 0 if plans else EVERY_PLAN
        elif (reached := ReachedFile(self.workspace.state_folder / "reached").read()) is not None:
            rest = reached.plan
        count = self.partitions(DECISIONS_TOPIC)
        if count:
            self.records(DECISIONS_TOPIC, 0)  # all are read at once, and kept
        return {each: DecisionsEnd(EVERY_PLAN, plans.get(each, rest)) for each in range(count)}

    def open_log(self, observer: WorkerObserver) -> OpenedLog:
        """Open the parts for the one worker, or for one of several that share a table.

        Raises:
            StateError: a stream was made anew since the journal was begun, or the journal was lost.
        """
        from producers.adapters.kinesis import KinesisSink
        from stream.adapters.kinesis.output import KinesisOutput

        workspace, table = self.workspace, self._table()
        if table is None:
            journal, begun = self._open_file_journal()
        else:
            journal = self._open_table_journal(table)
            begun = journal.terms
        sink = KinesisSink(self._connection, workspace.clock, self._kinesis())
        output = KinesisOutput(sink)
        self._opened.callback(output.close)
        source = self._open_source(self._worker_reads(), observer)
        if table is None:
            return OpenedLog(self._log_parts(source, journal, output), begun)
        group = self._open_group(journal, source, table)
        commit_s = duration_ms(self._connection.kinesis.commit_every) / 1000
        return OpenedLog(self._log_parts(source, journal, output, group), begun, commit_s)

    def _open_file_journal(self) -> tuple[Any, Any]:
        """Open the journal in the worker's folder; returns it and the terms it was begun with."""
        from stream.adapters.embedded.file_journal import FileJournal

        path, ids = self.workspace.journal_path, self._identities()
        if not path.exists():
            self._check_nothing_decided(str(path))
        journal = FileJournal(path, self._shared_terms(ids))
        self._opened.callback(journal.close)
        _check_streams(journal.terms.topic_ids, ids, str(path))
        if journal.next_number == 1:
            self._check_nothing_decided(str(path))
        return journal, journal.terms

    def _check_nothing_decided(self, where: str) -> None:
        """Refuse to begin a journal when there are decisions already.

        Raises:
            StateError: the journal was lost.
        """
        if self._has_decisions():
            raise StateError(_JOURNAL_LOST, where=where, hint=_ANEW)

    def disagreements(self) -> list[str]:
        """Return a sentence when the journal was lost, or is of streams that were made anew."""
        try:
            begun = self.terms()
        except NoJournal:
            # without a table another folder may be the worker's, with its journal
            is_ours = self.shares_journal or self.workspace.state_folder.is_dir()
            return [_JOURNAL_LOST] if is_ours and self._has_decisions() else []
        try:
            _check_streams(begun.topic_ids, self._identities(), "")
        except StateError as error:
            return [error.what]
        is_empty = next(iter(self.plans()), None) is None
        return [_JOURNAL_LOST] if is_empty and self._has_decisions() else []

    def _has_decisions(self) -> bool:
        from claimtrace.adapters.kinesis.stream import find
        from stream.adapters.kinesis.whole_stream import read_stream

        name = self._stream_of(DECISIONS_TOPIC)
        if find(self._kinesis(), name) is None:
            return False
        found = read_stream(self._reads(), name, DECISIONS_TOPIC, self.workspace.clock)
        return next(found, None) is not None

    def _open_table_journal(self, table: Table) -> TableJournal:
        from stream.adapters.kinesis.table_journal import TableJournal

        ids = self._identities()
        journal = TableJournal(table, self._shared_terms(ids), self.workspace.clock)
        self._opened.callback(journal.close)
        _check_streams(journal.terms.topic_ids, ids, table.name)
        return journal

    def _open_group(self, journal: TableJournal, source: KinesisSource, table: Table) -> LeaseGroup:
        """Open the group whose leases are in the table.

        Raises:
            StateError: workers have committed, but the journal is empty: it was lost.
        """
        from stream.adapters.kinesis.table_leases import TableLeases
        from stream.group.lease_group import LeaseGroup

        group = LeaseGroup(
            uuid4().hex, TableLeases(table), source.lineage, self.workspace.clock,
            duration_ms(self._connection.kinesis.lease_time) / 1000, source.finished,
            source.share_with,
        )  # fmt: skip
        self._opened.callback(group.leave)
        if journal.is_empty and group.checkpoints(source.topic_partitions()):
            raise StateError(
                "the journal is empty, but workers have said how far they came",
                where=table.name,
                hint=_ANEW,
            )
        # asked twice: another worker may have begun the journal and decided in between
        if journal.is_empty and self._has_decisions() and journal.is_empty:
            raise StateError(_JOURNAL_LOST, where=table.name, hint=_ANEW)
        return group

    def _table(self) -> Table | None:
        from claimtrace.adapters.tables.choice import shared_table

        return shared_table(self._connection.kinesis)

    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """Fix the end of the inputs: all records that had arrived by now."""
        assert self._source is not None
        source, now_ms = self._source, self.workspace.clock.now_ms()
        return lambda _: source.is_caught_up(now_ms)

    def report(
        self,
        positions: dict[tuple[str, int], int],
        observer: WorkerObserver,  # noqa: ARG002
    ) -> None:
        """Have the source report positions to its observer."""
        if self._source is not None:
            self._source.report(positions)

    def check_reading(self) -> str:
        """Return a line that compares what the workers read with what a shard gives in a second.

        Raises:
            ConfigError: enhanced fan-out is needed, or a consumer can't be used.
        """
        from claimtrace.adapters.kinesis.read_capacity import read_capacity
        from stream.adapters.kinesis.fan_out import FanOutReads
        from stream.adapters.kinesis.table_leases import TableLeases

        clock, table = self.workspace.clock, self._table()
        name = self._connection.kinesis.fan_out
        streams = [self._stream_of(topic) for topic in self.workspace.domain.topics]
        if name:
            consumers = FanOutReads(self._kinesis(), name, clock)
            there = sum(consumers.is_registered(stream) for stream in streams)
            line = f"pushed to as {name}, registered on {there} of {len(streams)} input streams"
            return line if there else f"{line}; claimtrace stream registers it"
        workers = max(len(TableLeases(table).heartbeats()), 1) if table is not None else 1
        reads = self._reads()
        fullest = max(
            reads.bytes_a_second(stream, shard.number, clock.now_ms(), _SAMPLE_S)
            for stream in streams
            for shard in reads.shards(stream)
            if not shard.is_closed
        )
        found = read_capacity(workers, fullest)
        line = (
            f"workers: {workers}, each reads each shard every {found.every_s:.1f} s; the fullest "
            f"took in {fullest / 1e6:.3f} MB/s, they read {found.share:.0%} of what it gives away"
        )
        if found.needs_fan_out:
            raise ConfigError(
                line, where="kinesis.fan_out", hint="enhanced fan-out is needed: give each worker "
                "a kinesis.fan_out of its own; or have fewer workers, or more shards",
            )  # fmt: skip
        return line

    def _open_source(
        self, reads: KinesisReads | FanOutReads, observer: WorkerObserver | None
    ) -> KinesisSource:
        from stream.adapters.kinesis.source import KinesisSource
        from stream.worker.observer import WorkerObserver

        observer = observer or WorkerObserver()
        streams = {topic: self._stream_of(topic) for topic in self.workspace.domain.topics}
        kept_ms = min(self._described(topic).retention_ms for topic in streams)
        skips_lost = self._connection.kinesis.on_lost_records == "earliest"

        def on_lost(what: str) -> None:
            if not skips_lost:
                raise StateError(
                    what, where="source", hint="kinesis.on_lost_records = earliest goes on "
                    "without them; have the streams keep records longer",
                )  # fmt: skip
            observer.notify(f"{what}: going on without what is gone")

        source = KinesisSource(reads, streams, self.workspace.clock, on_lost, kept_ms, observer)
        self._opened.callback(source.close)
        self._source = source
        return source

    def _kinesis(self) -> Any:
        from claimtrace.adapters.aws.client import aws_client

        if self._client is None:
            self._client = aws_client(self._connection.kinesis, "kinesis")
        return self._client

    def _reads(self) -> KinesisReads:
        from stream.adapters.kinesis.polling import KinesisReads

        return KinesisReads(self._kinesis())

    def _worker_reads(self) -> KinesisReads | FanOutReads:
        """Return the worker's way of reading: it polls, or the streams push to it."""
        from stream.adapters.kinesis.fan_out import FanOutReads

        name = self._connection.kinesis.fan_out
        if not name:
            return self._reads()
        reads = FanOutReads(self._kinesis(), name, self.workspace.clock)
        self._opened.callback(reads.close)
        for topic in self.workspace.domain.topics:
            reads.register(self._stream_of(topic))
        return reads

    def _stream_of(self, topic: str) -> str:
        from claimtrace.adapters.kinesis.stream import stream_name

        return stream_name(self._connection, topic)

    def _described(self, topic: str) -> Stream:
        """Describe a topic's stream; AWS is asked once."""
        from claimtrace.adapters.kinesis.stream import describe

        if topic not in self._streams:
            self._streams[topic] = describe(self._kinesis(), self._stream_of(topic))
        return self._streams[topic]

    def _identities(self) -> list[str]:
        return [self._described(topic).identity for topic in self.workspace.domain.topics]


def _check_streams(begun: list[str], now: list[str], where: str) -> None:
    """Refuse streams that were made anew since the journal was begun.

    Raises:
        StateError: an input's identity is not the one that the journal was begun with.
    """
    if begun != now:
        raise StateError(
            "a stream was made anew since the journal was begun: its positions mean other "
            "records", where=where,
            hint="start with a new folder, table, and output streams of another name",
        )  # fmt: skip
