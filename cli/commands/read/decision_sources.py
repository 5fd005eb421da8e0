"""Decisions found by a filter: in the offline store where there is one, else on the log."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import StateError, UsageError
from claimtrace.events import Record
from serving.reading.decision_filter import DecisionFilter
from serving.reading.decision_row import DecisionRow, logged_row

from ...console import progress
from ...transports.choice import open_transport
from ...wiring.workspace import Workspace
from .following import nothing_yet

STORE, LOG = "offline store", "log"
_ARM: Final = "arm"


class Found(NamedTuple):
    """The newest decisions that met a filter, the newest first, and where they were read."""

    rows: list[DecisionRow]
    source: str


def newest(workspace: Workspace, asked: DecisionFilter, most: int, *, log: bool) -> Found:
    """Return the newest decisions that meet a filter.

    Args:
        workspace: with the settings.
        asked: the filter.
        most: the number of decisions at most.
        log: read the log even where there is an offline store.

    Raises:
        UsageError: nothing has been decided yet.
    """
    from featurestore.offline.tables import DECISIONS

    if not log and DECISIONS in workspace.offline.tables():
        return Found(_stored(workspace, asked, most), STORE)
    check_answerable(asked)
    with open_transport(workspace) as transport:
        count = transport.partitions(DECISIONS_TOPIC)
        if not count:
            raise nothing_yet(DECISIONS_TOPIC)
        # about twice as many where the log may have some of them again
        last = 2 * most if asked.is_empty else None
        with progress("read", None) as advance:
            rows = (
                row
                for partition in range(count)
                for row in _rows(transport.records(DECISIONS_TOPIC, partition, last), advance)
                if asked.matches(row)
            )
            found = _newest_of(rows, most)
    return Found(found, LOG)


def check_answerable(asked: DecisionFilter) -> None:
    """Refuse a filter that needs the offline store.

    Raises:
        UsageError: it asks for a policy.
    """
    if asked.policy:
        raise UsageError(
            "decisions on the log don't name the policy", where="--policy",
            hint="claimtrace decisions list without --log asks the offline store, which does",
        )  # fmt: skip


def whole_decision(workspace: Workspace, wanted: str) -> bytes:
    """Return the newest sealed decision with this decision id, or on this claim.

    Raises:
        UsageError: there is none.
    """
    found: tuple[tuple[int, int, int], bytes] | None = None
    needle = wanted.encode()
    with open_transport(workspace) as transport, progress("read", None) as advance:
        for partition in range(transport.partitions(DECISIONS_TOPIC)):
            for record in transport.records(DECISIONS_TOPIC, partition):
                advance(1)
                value = record.value or b""
                if needle not in value:  # before it is decoded: few have it
                    continue
                row = row_of(record)
                is_it = wanted in (row.claim_id, row.decision_id)
                if is_it and (found is None or row.order >= found[0]):
                    found = row.order, value
    if found is None:
        raise UsageError(
            "no decision with this id, or on this claim", where=wanted,
            hint="claimtrace decisions list shows the newest; a claim that was refused is among "
            "claimtrace dead list",
        )  # fmt: skip
    return found[1]


def row_of(record: Record) -> DecisionRow:
    """Return the row of a decision on the log.

    Raises:
        StateError: the record is no decision.
    """
    try:
        return logged_row(record.value or b"")
    except msgspec.DecodeError as error:
        raise StateError(
            "a record is no decision", where=f"{record.topic}/{record.partition} position "
            f"{record.position}", hint="claimtrace verify says which decisions were changed",
        ) from error  # fmt: skip


def _rows(records: Iterable[Record], advance: object) -> Iterator[DecisionRow]:
    for record in records:
        advance(1)  # type: ignore[operator]
        yield row_of(record)


def _newest_of(rows: Iterable[DecisionRow], most: int) -> list[DecisionRow]:
    """Return the newest rows, each decision once, in bounded memory."""
    kept: list[tuple[tuple[int, int, int], str]] = []
    by_id: dict[str, DecisionRow] = {}
    for row in rows:
        if row.decision_id in by_id:
            continue
        entry = (row.order, row.decision_id)
        by_id[row.decision_id] = row
        if len(kept) < most:
            heapq.heappush(kept, entry)
        else:
            del by_id[heapq.heappushpop(kept, entry)[1]]
    return [by_id[each] for _, each in sorted(kept, reverse=True)]


def _stored(workspace: Workspace, asked: DecisionFilter, most: int) -> list[DecisionRow]:
    from featurestore.offline.tables import DECISIONS
    from serving.reading.decision_row import stored_row

    store = workspace.offline
    has_arms = _ARM in store.dataset(DECISIONS).schema.names
    found = store.sql(asked.newest(most, has_arms=has_arms))
    return [stored_row(each) for each in found.to_pylist()]
