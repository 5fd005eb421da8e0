"""The embedded log: one file, one worker, no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.events import Record

from .base import Said, Stopping, Transport, planned_records

if TYPE_CHECKING:
    from stream.adapters.embedded.log import EmbeddedSource
    from stream.journal.plan import Plan
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Session

_PAGE_RECORDS = 5_000


class EmbeddedTransport(Transport):
    """The log of the session's folder."""

    def __init__(self, session: Session, *, create: bool = False) -> None:
        super().__init__(session)
        self._log = session.log(create=create)

    def source(self) -> EmbeddedSource:
        """Reads the inputs."""
        from stream.adapters.embedded.log import EmbeddedSource

        settings = self.session.settings
        return EmbeddedSource(self._log, self.session.domain.topics, settings.partitions)

    def plans(self, from_number: int = 1) -> Iterator[Plan]:
        """The journal's plans, without opening it for writing."""
        from stream.adapters.embedded.file_journal import read_plans, read_terms

        path = self.session.journal_path
        read_terms(path).check_same(self.session.terms(), str(path))
        return read_plans(path, from_number)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return self._log.topics().get(topic, 0)

    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """All records of a partition, or the last so many, page by page."""
        at = 0 if last is None else max(0, self._log.ends(topic)[partition] - last)
        while page := self._log.read(topic, partition, at, _PAGE_RECORDS):
            yield from page
            at = page[-1].position + 1

    def driver(self, said: Said, watching: WorkerObserver, stopping: Stopping) -> Driver:
        """The one worker; the caller holds `alone`."""
        from stream.adapters.embedded.file_journal import FileJournal
        from stream.adapters.embedded.log import EmbeddedOutput

        session = self.session
        return session.driver(
            self.source(),
            FileJournal(session.journal_path, session.terms()),
            EmbeddedOutput(self._log, session.settings.partitions),
            said,
            watching,
            stopping,
        )

    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """The log's end: whenever nothing is read, the worker is there."""
        return lambda _: True

    def waiting_records(self) -> int:
        """Records on the log in all, as far as the journal hasn't planned them yet."""
        from stream.adapters.embedded.file_journal import read_plans

        path, topics = self.session.journal_path, self._log.topics()
        there = sum(sum(self._log.ends(t)) for t in self.session.domain.topics if t in topics)
        planned = planned_records(read_plans(path)) if path.exists() else 0
        return max(0, there - planned)

    def report(self, positions: dict[tuple[str, int], int], watching: WorkerObserver) -> None:
        """Tell the metrics where the worker is."""
        for topic in self.session.domain.topics:
            for partition, end in enumerate(self._log.ends(topic)):
                watching.topic_partition(
                    topic, partition, positions.get((topic, partition), 0), end
                )

    def alone(self) -> FolderLock:
        """The state folder belongs to one process."""
        return FolderLock(self.session.state_folder)

    def close(self) -> None:
        """Close the file."""
        self._log.close()
