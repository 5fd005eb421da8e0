"""The parts that a driver is assembled from: the log, the stores, and how often work is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, NamedTuple, Protocol

from claimtrace.events import Outgoing, Record

from ..group.group import Group
from ..journal.journal import Journal
from ..journal.source import Source

if TYPE_CHECKING:
    from ..adapters.snapshots.reached_file import ReachedFile
    from .offline_writer import Rows
    from .snapshotting import SnapshotStore


class Output(Protocol):
    """The log as the destination of decisions, dead letters, drift records and alerts."""

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Send the records of a plan, in order; records that are on the log already may be left
        out."""

    def flush(self) -> None:
        """Return when everything that was emitted is acknowledged."""

    def abort(self) -> None:
        """Take back what no commit has made visible yet, where the log can do that."""


def no_unknown_schemas(_: Sequence[Record]) -> list[int]:
    """Return no schema ids: a log without a schema registry."""
    return []


class LogParts(NamedTuple):
    """An open log: where records come from, plans are written, and effects go."""

    source: Source
    journal: Journal
    output: Output
    group: Group | None = None
    """The workers that share the partitions; None: this worker owns all of them."""
    unknown_schemas: Callable[[Sequence[Record]], list[int]] = no_unknown_schemas
    """Asks the schema registry which schema ids of a batch it doesn't know."""


class Stores(NamedTuple):
    """The stores beside the log."""

    rows: Rows
    snapshots: SnapshotStore
    reached: ReachedFile | None = None
    """Where it is noted which plan's effects are done, so that a restart needn't repeat them. With
    a group its checkpoints say that, and this note isn't used."""
    executor: Executor | None = None
    """Appends rows beside the batches; None: the worker appends them itself, between batches."""


class Cadence(NamedTuple):
    """How often periodic work is due: pairs are records and seconds, whichever comes first."""

    snapshot: tuple[int, float]
    offline: tuple[int, float]
    commit_s: float = 0.0
