"""The embedded log: one file, one worker, no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import StateError, UsageError
from claimtrace.events import Record

from ..wiring.opened_log import OpenedLog
from ..wiring.workspace import CHAMPION
from .base import Transport, planned_records

if TYPE_CHECKING:
    from stream.adapters.embedded.agreement import SetAside
    from stream.adapters.embedded.file_journal import FileJournal
    from stream.adapters.embedded.log import EmbeddedSource
    from stream.journal.journal import Journal
    from stream.journal.plan import Plan
    from stream.journal.terms import Terms
    from stream.proofs.coverage import DecisionsEnd
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Workspace

_PAGE_RECORDS = 5_000


class EmbeddedTransport(Transport):
    """The log in the workspace's folder."""

    def __init__(self, workspace: Workspace, *, create: bool = False) -> None:
        super().__init__(workspace)
        if create and workspace.journal_path.exists() and not workspace.log_path.exists():
            raise StateError(
                "the log is gone, but its journal is here", where=str(workspace.log_path),
                hint="restore log.db from a copy, or name a new folder",
            )  # fmt: skip
        self._creates = create
        self._log = workspace.log(create=create, topics=False)
        self._opened.callback(self._log.close)

    def source(self) -> EmbeddedSource:
        """Open a reader of the inputs."""
        from stream.adapters.embedded.log import EmbeddedSource

        partitions = self.workspace.settings.partitions
        topics = self.workspace.domain.topics
        return EmbeddedSource(self._log, topics, partitions, create=self._creates)

    def plans(self, from_number: int = 1, *, any_terms: bool = False) -> Iterator[Plan]:
        """Return the journal's plans, without opening it for writing."""
        from stream.adapters.embedded.file_journal import read_plans, read_terms

        path = self.workspace.journal_path
        begun = read_terms(path)
        if not any_terms:
            begun.check_same(self.workspace.terms(), str(path))
        return read_plans(path, from_number)

    def terms(self) -> Terms:
        """Return the terms that the journal was begun with."""
        from stream.adapters.embedded.file_journal import read_terms

        return read_terms(self.workspace.journal_path)

    def journal(self) -> FileJournal:
        """Open the journal that there is, to append to it."""
        from stream.adapters.embedded.file_journal import FileJournal

        self.terms()
        journal = FileJournal(self.workspace.journal_path, self.workspace.terms())
        self._opened.callback(journal.close)
        return journal

    def _journal_to_read(self) -> Journal:
        return self._file_to_read(self.workspace.terms())

    @property
    def shares_journal(self) -> bool:
        """False: one worker has the file."""
        return False

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return self._log.topics().get(topic, 0)

    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """Return all records of a partition, or the last `last`."""
        at = 0 if last is None else max(0, self._log.ends(topic)[partition] - last)
        return self.records_from(topic, partition, at)

    def records_from(self, topic: str, partition: int, position: int) -> Iterator[Record]:
        """Return the records of a partition from a position on, page by page."""
        at = position
        while page := self._log.read(topic, partition, at, _PAGE_RECORDS):
            yield from page
            at = page[-1].position + 1

    def decision_ends(self) -> dict[int, DecisionsEnd]:
        """Return the ends; the log knows the last plan whose decisions it has."""
        from stream.adapters.embedded.log import PRODUCER
        from stream.proofs.coverage import DecisionsEnd

        plan = self._log.producer_sequence(PRODUCER)  # first: more may be emitted meanwhile
        ends = self._log.ends(DECISIONS_TOPIC) if self.partitions(DECISIONS_TOPIC) else []
        return {partition: DecisionsEnd(end, plan) for partition, end in enumerate(ends)}

    def open_log(self, observer: WorkerObserver) -> OpenedLog:  # noqa: ARG002
        """Open the parts for the one worker.

        Raises:
            StateError: log and state don't belong together.
        """
        from stream.adapters.embedded.agreement import check_agreement
        from stream.adapters.embedded.file_journal import FileJournal
        from stream.adapters.embedded.log import EmbeddedOutput

        workspace = self.workspace
        check_agreement(self._log, workspace.state_folder)
        journal = FileJournal(workspace.journal_path, workspace.terms())
        if self._creates:  # a journal of other terms has been refused
            workspace.make_topics(self._log)
        output = EmbeddedOutput(self._log, workspace.settings.partitions)
        return OpenedLog(self._log_parts(self.source(), journal, output), journal.terms)

    def disagreements(self) -> list[str]:
        """Return a sentence for each way in which log and state don't belong together."""
        from stream.adapters.embedded.agreement import disagreements

        return list(disagreements(self._log, self.workspace.state_folder))

    def set_aside_journal(self) -> list[str]:
        """Set state, outputs and offline store aside under new names; returns what will differ.

        Raises:
            UsageError: log and state belong together, or the offline store isn't in a folder.
            StateError: the journal is damaged, or of a newer version: it isn't lost.
        """
        from stream.adapters.embedded.agreement import set_aside

        workspace = self.workspace
        wrong = self.disagreements()
        if not wrong:
            raise UsageError("log and journal belong together: no new journal is needed",
                             where="--new-journal", hint="leave the option out")  # fmt: skip
        offline = workspace.settings.offline or str(workspace.folder / "offline")
        if "://" in offline:
            raise UsageError("a new journal needs an empty offline store", where="offline",
                             hint="name another place in the setting `offline`")  # fmt: skip
        champion = workspace.registry.alias(CHAMPION)
        made = set_aside(self._log, workspace.state_folder, Path(offline))
        return _differences(wrong[0], made, champion.label if champion else "")

    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """Return a test that always holds: the log was read to its end when a read is empty."""
        return lambda _: True

    def waiting_records(self) -> int:
        """Return how many records of the log the journal has not planned yet."""
        from stream.adapters.embedded.file_journal import read_plans

        path, topics = self.workspace.journal_path, self._log.topics()
        written = sum(sum(self._log.ends(t)) for t in self.workspace.domain.topics if t in topics)
        planned = planned_records(read_plans(path)) if path.exists() else 0
        return max(0, written - planned)

    def report(self, positions: dict[tuple[str, int], int], observer: WorkerObserver) -> None:
        """Report position and end of each partition."""
        for topic in self.workspace.domain.topics:
            for partition, end in enumerate(self._log.ends(topic)):
                position = positions.get((topic, partition), 0)
                observer.topic_partition(topic, partition, position, end)


def _differences(why: str, made: SetAside, champion: str) -> list[str]:
    """Say what a new journal leaves behind, and what will differ from what was served."""
    lines = [f"a new journal: {why}"]
    if made.topics:
        lines.append(
            f"{made.decisions:,} decisions of before stay on the log as {made.topics[0]}; the "
            "other outputs likewise"
        )
    if made.folders:
        lines.append(f"kept aside: {', '.join(each.name for each in made.folders)}")
    model = f"the champion of now ({champion})" if champion else "no model, as there is no champion"
    return [
        *lines,
        f"every record of the log is decided again, with the rules of now and {model}: scores, "
        "outcomes, reasons and chains differ from what was served; drift records and alerts of the "
        "past are made again; proofs and seals of before don't hold for the new decisions",
    ]
