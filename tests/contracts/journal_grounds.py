"""Journals for the contract suite: opened again by each test, and by several workers if allowed."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from confluent_kafka import Producer

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.adapters.tables.dynamodb import DynamodbTable
from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.adapters.tables.table import Change, Table
from claimtrace.decisions import JOURNAL_TOPIC
from claimtrace.settings.schema import KafkaSettings, Settings
from stream.adapters.embedded.file_journal import FileJournal
from stream.adapters.kafka.journal import KafkaJournal
from stream.adapters.kinesis.table_journal import TableJournal
from stream.journal.terms import Terms
from tests.contracts.transport_grounds import forget_plans
from tests.servers.dynamodb import DynamoLocal
from tests.servers.kafka import Cluster
from tests.servers.topics import client
from tests.worlds.kafka_topics_anew import make_anew
from tests.worlds.stream_folder import terms

TERMS: Final = msgspec.structs.replace(terms(), topic_ids=["id-1", "id-2", "id-3"])


class JournalStore(ABC):
    """One journal in its store, which a test opens as new processes would."""

    def __init__(self) -> None:
        self._open: list[Any] = []

    def open(self, wanted: Terms | None = TERMS) -> Any:
        """Open the journal as a new process."""
        journal = self._opened(wanted)
        self._open.append(journal)
        return journal

    def close(self) -> None:
        """Close all journals that were opened."""
        for journal in self._open:
            journal.close()

    @abstractmethod
    def put(self, body: bytes) -> None:
        """Append a record by other means; its form is right for the store."""

    @abstractmethod
    def _opened(self, wanted: Terms | None) -> Any: ...


class FileJournalStore(JournalStore):
    """A journal in a synced file."""

    def __init__(self, folder: Path, _: Any = None) -> None:
        super().__init__()
        self._path = folder / "journal"

    def put(self, body: bytes) -> None:
        """Append a line with its checksum."""
        with self._path.open("ab") as file:
            file.write(body + b"\t%08x\n" % zlib.crc32(body))

    def _opened(self, wanted: Terms | None) -> FileJournal:
        assert wanted is not None
        return FileJournal(self._path, wanted)


class KafkaJournalStore(JournalStore):
    """A journal on a topic that is created anew."""

    def close(self) -> None:
        """Close all journals; their queued plans are not sent any more."""
        while self._open:
            forget_plans(self._open.pop())

    def __init__(self, _: Path, cluster: Cluster) -> None:
        super().__init__()
        self.cluster = cluster
        make_anew(cluster, {JOURNAL_TOPIC: 1})

    def put(self, body: bytes, key: bytes | None = b"plan") -> None:
        """Produce a record with any key."""
        producer = Producer(client(self.cluster.bootstrap))
        producer.produce(JOURNAL_TOPIC, body, key)
        assert producer.flush(30) == 0

    def _opened(self, wanted: Terms | None) -> KafkaJournal:
        made = Settings(source=f"kafka://{self.cluster.bootstrap}", kafka=KafkaSettings())
        return KafkaJournal(made.kafka_connection, wanted, SystemClock())


class TableJournalStore(JournalStore):
    """A journal in a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._table = self._another()
        assert self._table.create(SystemClock())

    @abstractmethod
    def _another(self) -> Table: ...

    def put(self, body: bytes) -> None:
        """Overwrite the terms."""
        self._table.put_always({"pk": "terms", "sk": "terms", "terms": body.decode()})

    def lose(self, number: int, body: bytes) -> None:
        """Write a plan as another process would, after the number is taken."""
        item = {"pk": "plan", "sk": f"{number:016d}", "plan": body.decode()}
        assert not self._table.put(Change(item, None))

    def spoil(self, number: int, body: str) -> None:
        """Overwrite a plan with other text."""
        self._table.put_always({"pk": "plan", "sk": f"{number:016d}", "plan": body})

    def _opened(self, wanted: Terms | None) -> TableJournal:
        return TableJournal(self._another(), wanted, SystemClock())


class DynamoJournalStore(TableJournalStore):
    """A journal in DynamoDB."""

    def __init__(self, _: Path, server: DynamoLocal) -> None:
        self._server, self._name = server, f"journal-{uuid4()}"
        super().__init__()

    def _another(self) -> Table:
        return DynamodbTable(self._server.client(), self._name)


class FileTableJournalStore(TableJournalStore):
    """A journal in a file that workers on one machine share."""

    def __init__(self, folder: Path, _: Any = None) -> None:
        self._path = folder / "shared.db"
        super().__init__()

    def _another(self) -> Table:
        return SqliteTable(self._path)


JOURNALS: Final[dict[str, type[Any]]] = {
    "file": FileJournalStore,
    "kafka": KafkaJournalStore,
    "dynamo": DynamoJournalStore,
    "file table": FileTableJournalStore,
}
SHARED: Final = ("kafka", "dynamo", "file table")
"""Journals that several workers may have open at once."""
SERVERS: Final = {"kafka": "kafka", "dynamo": "dynamodb"}
"""The servers that journals need, by fixture name."""
