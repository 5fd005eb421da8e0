"""The contract of a transport: a log as the commands see it, opened as parts for a driver."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.closing import Closing
from claimtrace.errors import UsageError
from claimtrace.events import Record

if TYPE_CHECKING:
    from stream.group.group import Group
    from stream.journal.journal import Journal
    from stream.journal.plan import Plan
    from stream.journal.source import Source
    from stream.journal.terms import Terms
    from stream.proofs.coverage import DecisionsEnd
    from stream.worker.observer import WorkerObserver
    from stream.worker.parts import LogParts, Output

    from ..wiring.opened_log import OpenedLog
    from ..wiring.workspace import Workspace

ALL_PARTITIONS = 0
"""In terms: the log says how many partitions a topic has, and more may come."""


class Transport(Closing):
    """A log with its journal; close it, or use it in `with`."""

    idle_s = 0.05
    """How long a worker sleeps when there are no new records."""

    may_repeat = False
    """Whether a decision may be on the log again, with the same bytes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._opened = ExitStack()

    def check_reachable(self, patience_s: float) -> None:
        """Ask whether the log's servers answer, for at most `patience_s`; a log without any does.

        Raises:
            StoreUnavailable: they don't.
            ConfigError: they refuse the login.
        """

    @abstractmethod
    def source(self) -> Source:
        """Open a reader of the inputs."""

    @abstractmethod
    def plans(self, from_number: int = 1, *, any_terms: bool = False) -> Iterable[Plan]:
        """Return the journal's plans from a number on.

        Args:
            from_number: the first plan.
            any_terms: whether the journal may have been begun under other settings.

        Raises:
            StateError: there is no journal, or its terms are not those of the settings.
        """

    @abstractmethod
    def terms(self) -> Terms:
        """Return the terms that the journal was begun with, among them its edition.

        Raises:
            NoJournal: there is no journal.
        """

    @abstractmethod
    def journal(self) -> Journal:
        """Open the journal that there is, to append to it.

        Without `shares_journal` the caller holds `lock`.

        Raises:
            StateError: there is no journal, or its terms are not those of the settings.
        """

    @property
    @abstractmethod
    def shares_journal(self) -> bool:
        """Whether several workers append to the journal, so that it needs no lock."""

    @abstractmethod
    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 when there is no such topic."""

    @abstractmethod
    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """Return all records of a partition, or about the last `last` of them."""

    def records_from(self, topic: str, partition: int, position: int) -> Iterator[Record]:
        """Return the records of a partition from a position on."""
        return (each for each in self.records(topic, partition) if each.position >= position)

    @abstractmethod
    def decision_ends(self) -> dict[int, DecisionsEnd]:
        """Return the end of the decisions of each partition as of now.

        Workers may be at work: read the journal's plans after this, and every decision before an
        end belongs to one of them.
        """

    @abstractmethod
    def open_log(self, observer: WorkerObserver) -> OpenedLog:
        """Open source, journal, output and group for a driver; the caller holds `lock`.

        Raises:
            StateError: the journal was begun on other topics, or was lost.
        """

    def open_to_follow(self) -> OpenedLog:
        """Open source and journal for a follower, which applies every plan and writes nothing.

        Raises:
            StateError: there is no journal, or its terms are not those of the settings.
        """
        from stream.group.following import Following
        from stream.worker.following import NoOutput

        from ..wiring.opened_log import OpenedLog

        journal = self._journal_to_read()
        parts = self._log_parts(self.source(), journal, NoOutput(), Following())
        return OpenedLog(parts, self.terms())

    def _journal_to_read(self) -> Journal:
        """Open the journal that there is, to read it while others append to it."""
        return self.journal()

    def _file_to_read(self, terms: Terms) -> Journal:
        """Open a journal in the state folder's file to read it; `terms` are those expected."""
        from stream.adapters.embedded.journal_reader import JournalReader

        path = self.workspace.journal_path
        journal = JournalReader(path)
        journal.terms.check_same(terms, str(path))
        return journal

    def disagreements(self) -> list[str]:
        """Return a sentence for each way in which log and state don't belong together.

        On a cluster topics and streams have identities, which `open_log` compares.
        """
        return []

    def set_aside_journal(self) -> list[str]:
        """Set journal and outputs aside, for a new journal; returns what will differ.

        The caller holds `lock`.

        Raises:
            UsageError: nothing is wrong with the journal, or it is on a cluster.
        """
        raise UsageError(
            "--new-journal is for the embedded log", where=self.workspace.settings.source,
            hint="on a cluster, begin with new topics or streams and another group or table",
        )  # fmt: skip

    @abstractmethod
    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """Fix the end of the inputs as of now; the result says whether positions reach it."""

    @abstractmethod
    def report(self, positions: dict[tuple[str, int], int], observer: WorkerObserver) -> None:
        """Report the worker's position and the end of each partition to the observer."""

    def waiting_records(self) -> int | None:
        """Return how many records wait for a decision; None when the log can't tell."""
        return None

    def lock(self) -> FolderLock:
        """Return the lock of the state folder: one worker has it, for its snapshots."""
        return FolderLock(self.workspace.state_folder)

    def close(self) -> None:
        """Close everything that was opened, the last first: the group before the source."""
        self._opened.close()

    def _log_parts(
        self, source: Source, journal: Journal, output: Output, group: Group | None = None
    ) -> LogParts:
        """Return the parts, with the schema registry of the settings if there is one."""
        from stream.worker.parts import LogParts

        schemas = self.workspace.schemas
        parts = LogParts(source, journal, output, group)
        return parts if schemas is None else parts._replace(unknown_schemas=schemas.unknown_in)

    def _shared_terms(self, topic_ids: list[str]) -> Terms:
        """Return the terms of a journal whose topics may grow and be told from namesakes."""
        terms = self.workspace.terms()
        return msgspec.structs.replace(terms, partitions=ALL_PARTITIONS, topic_ids=topic_ids)


def planned_records(plans: Iterable[Plan]) -> int:
    """Return how many records the plans have."""
    return sum(span.to_position - span.from_position for plan in plans for span in plan.ranges)
