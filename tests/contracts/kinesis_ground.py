"""Kinesis for the contract suite of transports: the local server, one worker or several.

The server stamps records itself. Records that a test puts keep the test's log times: the reader
looks them up by sequence number, or the order of reading couldn't be predicted.

"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.adapters.tables.dynamodb import DynamodbTable
from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.adapters.tables.table import Table
from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC, DRIFT_TOPIC
from claimtrace.errors import StateError
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import Settings
from claimtrace_examples.auto_claims import DOMAIN
from producers.adapters.kinesis import KinesisSink
from stream.adapters.embedded.file_journal import FileJournal, read_plans
from stream.adapters.kinesis.fan_out import FanOutReads
from stream.adapters.kinesis.output import KinesisOutput
from stream.adapters.kinesis.polling import KinesisReads, ReadRequest, ShardPage
from stream.adapters.kinesis.source import KinesisSource
from stream.adapters.kinesis.table_journal import TableJournal
from stream.adapters.kinesis.table_leases import TableLeases
from stream.adapters.kinesis.whole_stream import by_claim, read_stream
from stream.adapters.snapshots.reached_file import ReachedFile
from stream.group.lease_group import LeaseGroup
from stream.journal.plan import Plan
from stream.journal.source import Source
from stream.journal.terms import Terms
from tests.contracts.transport_grounds import PARTITIONS, Crashing, Ground, Worker
from tests.servers.aws_local import AwsLocal
from tests.servers.dynamodb import DynamoLocal
from tests.servers.kinesis import KinesisLocal, create_streams
from tests.servers.ministack import Ministack

_numbers = count()
_DAY_MS = 86_400_000
_OUTPUTS = (DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC)


class Times:
    """The log times of the records that were put; `putting` is held until they are noted."""

    def __init__(self) -> None:
        self.putting = Lock()
        self.log_time_ms: dict[tuple[str, str], int] = {}


class StampedReads:
    """Reads that give records of `KinesisGround` the log times that they were put with."""

    def __init__(self, reads: KinesisReads | FanOutReads, times: Times) -> None:
        self._reads, self._times = reads, times
        self.shards, self.is_shared = reads.shards, reads.is_shared

    def read(self, request: ReadRequest) -> ShardPage:
        """Read one page, with the noted log times."""
        page = self._reads.read(request)
        with self._times.putting:
            noted_ms = self._times.log_time_ms
        times_ms = tuple(noted_ms[request.stream, sequence] for sequence in page.sequences)
        return page._replace(log_times_ms=times_ms)


class KinesisGround(Ground):
    """Streams of their own; the partitions of an input are shards."""

    once, has_group, has_headers = False, False, False

    def __init__(self, folder: Path, server: AwsLocal) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True)
        self._server, self._client = server, server.client("kinesis")
        self._settings = Settings(source=f"kinesis://ground{next(_numbers)}")
        self._times = Times()
        inputs = {self._stream(topic): PARTITIONS for topic in DOMAIN.topics}
        outputs = {self._stream(topic): 1 for topic in _OUTPUTS}
        create_streams(self._client, {**inputs, **outputs, self._stream(DECISIONS_TOPIC): 2})
        found = KinesisReads(self._client).shards(self._stream(DOMAIN.topics[0]))
        self._hashes = [str(shard.first_hash) for shard in found]
        self._open = ExitStack()

    def start(self, name: str = "a", crash: Crashing = lambda _: None, **member: Any) -> Worker:
        """Start a worker on the common journal, with snapshots of its own."""
        with ExitStack() as opening:
            journal = self._journal(self.terms())
            opening.callback(journal.close)
            source = self._source()
            opening.callback(source.close)
            sink = KinesisSink(self._settings.kinesis_connection, SystemClock(), self._client)
            opening.callback(lambda: [lane.close() for lane in sink._lanes.values()])
            parts = source, journal, KinesisOutput(sink)
            beside = self._beside(name, source)
            worker = self._worker(name, crash, parts, lambda: None, **beside)
            kept = opening.pop_all()
        worker.die = kept.close
        self._open.callback(kept.close)
        return worker

    def records(self, topic: str) -> list[Record]:
        """Return decisions and dead letters by the partition of their input record."""
        reads = KinesisReads(self._client)
        found = read_stream(reads, self._stream(topic), topic, SystemClock())
        if topic == DECISIONS_TOPIC:
            placed = by_claim(found)
            return [record for partition in sorted(placed) for record in placed[partition]]
        if topic == DEAD_TOPIC:
            return [
                each._replace(partition=int(dict(each.headers)["x-dead-partition"]))
                for each in found
            ]
        return list(found)

    def proof(self) -> tuple[list[Plan], Source]:
        """Return the plans, and another reader of the inputs."""
        source = self._source()
        self._open.callback(source.close)
        return self._plans(), source

    def close(self) -> None:
        """Close all clients."""
        self._open.close()

    def _journal(self, wanted: Terms) -> Any:
        return FileJournal(self.folder / "journal", wanted)

    def _plans(self) -> list[Plan]:
        return list(read_plans(self.folder / "journal"))

    def _beside(self, name: str, source: KinesisSource) -> dict[str, Any]:
        return {"reached": ReachedFile(self.folder / "reached")}  # streams don't know what was sent

    def _append(self, rows: Sequence[Outgoing]) -> None:
        by_topic: dict[str, list[Outgoing]] = {}
        for row in rows:
            by_topic.setdefault(row.topic, []).append(row)
        for topic, sent in by_topic.items():
            for start in range(0, len(sent), 100):
                self._put(self._stream(topic), sent[start : start + 100])

    def _put(self, name: str, rows: Sequence[Outgoing]) -> None:
        entries = [
            {
                "Data": row.value or b"",
                "PartitionKey": (row.key or b"-").decode(),
                "ExplicitHashKey": self._hashes[row.partition],
            }
            for row in rows
        ]
        with self._times.putting:
            answer = self._client.put_records(StreamName=name, Records=entries)
            for row, put in zip(rows, answer["Records"], strict=True):
                self._times.log_time_ms[name, put["SequenceNumber"]] = row.log_time_ms

    def _source(self) -> KinesisSource:
        def refuse(what: str) -> None:
            raise StateError(what)

        reads = StampedReads(self._reads(), self._times)
        streams = {topic: self._stream(topic) for topic in DOMAIN.topics}
        source = KinesisSource(reads, streams, SystemClock(), refuse, _DAY_MS)
        source.readers = 0  # nobody else reads, and the server doesn't mind
        return source

    def _reads(self) -> KinesisReads | FanOutReads:
        return KinesisReads(self._client)

    def _stream(self, topic: str) -> str:
        return f"{self._settings.source.removeprefix('kinesis://')}.{topic}"


class FanOutGround(KinesisGround):
    """Streams that push, on a server that supports enhanced fan-out."""

    def __init__(self, folder: Path, server: Ministack) -> None:
        super().__init__(folder, server)
        self._opened: list[FanOutReads] = []

    def _reads(self) -> FanOutReads:
        reads = FanOutReads(self._client, f"reader-{len(self._opened)}", SystemClock())
        self._opened.append(reads)
        self._open.callback(reads.close)
        for topic in DOMAIN.topics:
            reads.register(self._stream(topic))
        return reads


class KinesisGroupGround(KinesisGround):
    """Several workers on one machine: leases and journal in a file."""

    has_group = True

    def __init__(self, folder: Path, server: KinesisLocal) -> None:
        super().__init__(folder, server)
        self._table().create(SystemClock())

    def _table(self) -> Table:
        return SqliteTable(self.folder / "shared.db")

    def _journal(self, wanted: Terms) -> Any:
        return TableJournal(self._table(), wanted, SystemClock())

    def _plans(self) -> list[Plan]:
        return list(TableJournal(self._table(), None, SystemClock()).read(1))

    def _beside(self, name: str, source: KinesisSource) -> dict[str, Any]:
        leases = TableLeases(self._table())
        me = f"{name}-{next(_numbers)}"
        group = LeaseGroup(me, leases, source.lineage, SystemClock(), self.lease_s, source.finished)
        return {"group": group, "commit_s": 0.0}


class DynamoGroupGround(KinesisGroupGround):
    """Several workers on several machines: leases and journal in DynamoDB."""

    def __init__(self, folder: Path, server: KinesisLocal, dynamodb: DynamoLocal) -> None:
        self._dynamodb, self._name = dynamodb, f"group-{next(_numbers)}"
        super().__init__(folder, server)

    def _table(self) -> Table:
        return DynamodbTable(self._dynamodb.client(), self._name)
