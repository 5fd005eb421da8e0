"""The evidence of a workspace, opened: the index brought to the journal's end, and its sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from claimtrace.decisions import (
    DECISIONS_TOPIC,
    GENESIS,
    ModelRef,
    chain_of,
    claim_position_of,
)
from claimtrace.errors import UsageError

from ...console import progress
from ...transports.base import planned_records
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.workspace import CHAMPION, Workspace

if TYPE_CHECKING:
    from claimtrace.batches.records import Records
    from claimtrace.events import Record
    from serving.evidence.evidence import Approval
    from serving.evidence.gathering import Gatherer
    from serving.evidence.sources import Place, Sealed
    from stream.engine.engine import Engine
    from stream.journal.plan import Plan
    from stream.journal.terms import Terms

    from ...transports.base import Transport


@contextmanager
def open_evidence(workspace: Workspace, *, quiet: bool = False) -> Iterator[Gatherer]:
    """Open what answers questions about decisions; it may be kept for many.

    The index is in the folder `evidence/`; the first call builds it, later ones add what the
    journal has got since. Where it can't be written it is built anew each time.

    Args:
        workspace: the folder, or the log that it names.
        quiet: draw no progress bar.

    Raises:
        UsageError: nothing has been decided yet.
        StateError: the journal isn't on the terms of the settings.
    """
    from claimtrace.buffers.siphash import hash_key
    from serving.adapters.evidence.index_file import IndexFile
    from serving.adapters.evidence.stored_records import StoredRecords
    from serving.evidence.gathering import Gatherer
    from serving.evidence.index import EvidenceIndex

    if not workspace.has_journal:
        raise UsageError("nothing has been decided yet", where=str(workspace.folder),
                         hint="run claimtrace stream")  # fmt: skip
    with open_transport(workspace) as transport:
        terms = transport.terms()
        plans = list(transport.plans())
        sources = _Sources(workspace, transport, terms, plans)
        source = workspace.settings.source
        stored = StoredRecords(
            workspace.offline, transport.source(), by_position=not source.startswith("kinesis"),
            together=source == "local",
        )  # fmt: skip
        sources.stored = stored
        index = EvidenceIndex(
            sources.engine(), hash_key(workspace.settings.stream.hash_key), terms.remember_ms
        )
        file = IndexFile(workspace.folder / "evidence", terms)
        was_there = file.load(index, plans)
        later = plans[index.plan :]
        if later:
            if was_there:
                file.restore_ledgers(index)
            with progress("index records", planned_records(later), quiet=quiet) as advance:
                index.extend(later, stored.read, advance)
            file.save(index, plans)
        yield Gatherer(index, sources, terms)


class _Sources:
    """The sources of evidence of a workspace; see `serving.evidence.sources`."""

    stored: object

    def __init__(
        self, workspace: Workspace, transport: Transport, terms: Terms, plans: list[Plan]
    ) -> None:
        self._workspace, self._transport, self._terms = workspace, transport, terms
        self._plans = plans

    def plans(self) -> Sequence[Plan]:
        """Return the journal's plans."""
        return self._plans

    def engine(self, lateness_ms: int | None = None) -> Engine:
        """Build an engine that doesn't watch for drift."""
        terms = self._terms
        if lateness_ms is not None:
            terms = msgspec.structs.replace(terms, lateness_ms=lateness_ms)
        return build_engine(self._workspace, terms, watches=False)

    def records(self, places: Sequence[Place]) -> Records:
        """Return the records at some places."""
        from serving.adapters.evidence.stored_records import StoredRecords

        assert isinstance(self.stored, StoredRecords)
        return self.stored.at(places, {plan.number: plan for plan in self._plans})

    def sealed(self, partition: int, before: int, position: int) -> Sealed | None:
        """Return a decision with its neighbours: at its place, else wherever it stands."""
        first = max(before - 1, 0)
        near = islice(self._transport.records_from(DECISIONS_TOPIC, partition, first), 3)
        found = _among(near, position, starts=first == 0)
        if found is None:  # repeated or lost ones have moved it
            whole = self._transport.records(DECISIONS_TOPIC, partition)
            found = _among(whole, position, starts=True)
        return found

    def acts(self, model: ModelRef, until_ms: int) -> tuple[list[Approval], int, int]:
        """Return what the approvals log says of a version until a time."""
        from models.registry.approval import approval_of
        from serving.evidence.evidence import Approval

        log = self._workspace.registry.approvals()
        told = [
            Approval(entry.act, entry.actor, entry.user if isinstance(entry.user, str) else "",
                     entry.at_ms, entry.reason, entry.number)
            for entry in log.about(model.version)
            if entry.at_ms <= until_ms
        ]  # fmt: skip
        approved, live = approval_of(log, model.version), log.live_at(CHAMPION, until_ms)
        is_live = live is not None and live.version == model.version
        return told, approved.number if approved else 0, live.number if live and is_live else 0


def _among(records: Iterator[Record], position: int, *, starts: bool) -> Sealed | None:
    """Find the decision on the claim at a position among decisions that follow each other.

    Args:
        records: decisions of one partition.
        position: the claim's.
        starts: whether they begin with the partition's first decision.
    """
    from serving.evidence.sources import Sealed

    before = GENESIS if starts else ""
    for record in records:
        value = record.value or b""
        try:
            is_it = claim_position_of(value).position == position
        except msgspec.DecodeError:
            is_it = False
        if is_it and before:
            behind = next(records, None)
            return Sealed(record.position, value, before,
                          (behind.value or b"") if behind else b"")  # fmt: skip
        before = chain_of(value)
    return None
