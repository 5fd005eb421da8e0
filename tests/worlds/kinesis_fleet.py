"""Several real workers on streams and a table: started, killed, stopped, while shards change."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.adapters.tables.dynamodb import DynamodbTable
from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.adapters.tables.table import Table
from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC, DRIFT_TOPIC
from claimtrace.events import Outgoing, Record
from claimtrace.settings.loading import load_settings
from claimtrace_examples.auto_claims import DOMAIN
from cli.wiring.workspace import Workspace
from producers.adapters.kinesis import KinesisSink
from stream.adapters.kinesis.polling import KinesisReads
from stream.adapters.kinesis.table_journal import TableJournal
from stream.adapters.kinesis.table_leases import TableLeases
from stream.adapters.kinesis.whole_stream import by_claim, read_stream
from stream.group.leases import Lease
from stream.group.shard_family import id_of
from tests.servers.aws_local import REGION
from tests.servers.dynamodb import DynamoLocal
from tests.servers.kinesis import KinesisLocal, create_streams, wait_until_active
from tests.worlds.worker_process import Worker

_numbers = count()
SHARDS = 3


class KinesisFleet:
    """Workers that share a registry, an offline store and a table: in DynamoDB, or in a file."""

    def __init__(self, folder: Path, kinesis: KinesisLocal, dynamodb: DynamoLocal | None) -> None:
        self.folder, self.workers = folder, list[Worker]()
        self._kinesis, self._dynamodb = kinesis, dynamodb
        self._name = f"fleet{next(_numbers)}"
        self.client = kinesis.client()
        many = dict.fromkeys((*DOMAIN.topics, DECISIONS_TOPIC), SHARDS)
        one = dict.fromkeys((DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC), 1)
        create_streams(self.client, {self.stream(t): n for t, n in {**many, **one}.items()})
        self._table().create(SystemClock())
        self.put_count = 0

    def stream(self, topic: str) -> str:
        """Return the stream of a topic."""
        return f"{self._name}.{topic}"

    def worker(self) -> Worker:
        """Add a worker, not started yet."""
        name = f"worker-{len(self.workers)}"
        self.workers.append(Worker(name, self.folder / name, self.environment()))
        return self.workers[-1]

    def environment(self) -> dict[str, str]:
        """Return the settings of every worker."""
        return {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "CLAIMTRACE_SOURCE": f"kinesis://{self._name}",
            "CLAIMTRACE_KINESIS__REGION": REGION,
            "CLAIMTRACE_KINESIS__KINESIS_ENDPOINT": self._kinesis.endpoint,
            **self._table_settings(),
            "CLAIMTRACE_KINESIS__LEASE_TIME": "2s",
            "CLAIMTRACE_KINESIS__COMMIT_EVERY": "300ms",
            "CLAIMTRACE_MODELS": str(self.folder / "models"),
            "CLAIMTRACE_OFFLINE": str(self.folder / "offline"),
            "CLAIMTRACE_STREAM__SNAPSHOT_EVERY_RECORDS": "700",
            "CLAIMTRACE_STREAM__OFFLINE_EVERY": "1s",
        }

    def _table_settings(self) -> dict[str, str]:
        if self._dynamodb is None:
            return {"CLAIMTRACE_KINESIS__TABLE": f"file:{self.folder / 'shared.db'}"}
        return {
            "CLAIMTRACE_KINESIS__DYNAMODB_ENDPOINT": self._dynamodb.endpoint,
            "CLAIMTRACE_KINESIS__TABLE": self._name,
        }

    def _table(self) -> Table:
        if self._dynamodb is None:
            return SqliteTable(self.folder / "shared.db")
        return DynamodbTable(self._dynamodb.client(), self._name)

    def session(self) -> Workspace:
        """Return a workspace for reading the workers' results."""
        environment = {**self.environment(), "CLAIMTRACE_FOLDER": str(self.folder / "asking")}
        return Workspace(load_settings(None, environment))

    def leases(self) -> list[Lease]:
        """Return the leases by topic-partition."""
        return TableLeases(self._table()).leases()

    def feed(self, rows: Sequence[Outgoing], rate: float) -> None:
        """Put records, `rate` a second."""
        sink = KinesisSink(
            self.session().settings.kinesis_connection, SystemClock(), self._kinesis.client()
        )
        step, began_s = 20, time.monotonic()
        for start in range(0, len(rows), step):
            sink.send(rows[start : start + step])
            time.sleep(max(0.0, began_s + start / rate - time.monotonic()))
        sink.flush(60)
        sink.close()
        self.put_count += len(rows)

    def split(self, topic: str, number: int) -> None:
        """Split a shard in two."""
        name = self.stream(topic)
        shard = next(s for s in KinesisReads(self.client).shards(name) if s.number == number)
        middle = (shard.first_hash + shard.last_hash) // 2 + 1
        self.client.split_shard(
            StreamName=name, ShardToSplit=id_of(number), NewStartingHashKey=str(middle)
        )
        wait_until_active(self.client, name)

    def merge(self, topic: str, one: int, other: int) -> None:
        """Merge two adjacent shards."""
        name = self.stream(topic)
        self.client.merge_shards(
            StreamName=name, ShardToMerge=id_of(one), AdjacentShardToMerge=id_of(other)
        )
        wait_until_active(self.client, name)

    def wait_until_planned(self, timeout_s: float = 90.0) -> None:
        """Wait until all records that were put are in plans."""
        table = self._table()
        until_s, planned = time.monotonic() + timeout_s, 0
        while planned < self.put_count:
            assert time.monotonic() < until_s, f"{planned} of {self.put_count}: {self.said()}"
            time.sleep(0.3)
            plans = TableJournal(table, None, SystemClock()).read(1)
            spans = [span for plan in plans for span in plan.ranges]
            planned = sum(span.to_position - span.from_position for span in spans)

    def read(self, topic: str) -> Iterator[Record]:
        """Return the records of a topic's stream; effects of an input by where that input was."""
        reads = KinesisReads(self.client)
        found = read_stream(reads, self.stream(topic), topic, SystemClock())
        if topic == DECISIONS_TOPIC:
            return (record for rows in by_claim(found).values() for record in rows)
        return found

    def said(self, last: int = 3000) -> str:
        """Return the end of each worker's output."""
        return "\n".join(f"{worker.name}: {worker.text[-last:]}" for worker in self.workers)

    def kill(self) -> None:
        """Kill all workers at once."""
        for worker in self.workers:
            if worker.running is not None:
                worker.kill()
