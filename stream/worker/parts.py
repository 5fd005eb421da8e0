"""The parts that a driver is assembled from, and their contracts: log, stores, cadence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from types import MappingProxyType
from typing import NamedTuple, Protocol

import pyarrow as pa

from claimtrace.decisions import RolloutRef
from claimtrace.events import Outgoing, Record
from featurestore.state_arrays import Arrays

from ..group.group import Group
from ..journal.journal import Journal
from ..journal.reached import Reached
from ..journal.source import Source
from .store_names import StoreNames


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


class Rows(Protocol):
    """The offline store; each writer numbers its appends with plans."""

    def append_once(
        self, table: str, rows: pa.Table, *, versions: Mapping[str, int], before: Mapping[str, int]
    ) -> bool:
        """Append rows and set the version of each writer, if the versions are still `before`.

        Returns False when these versions are stored already.

        Raises:
            Superseded: another worker has appended as one of the writers.
        """

    def committed(self, table: str, writer: str) -> int:
        """Return the last version of a writer in a table; -1 when there is none."""


class SnapshotStore(Protocol):
    """The contract of a store of snapshots."""

    def is_ready(self, arrays: Arrays) -> bool:
        """Whether `begin` wouldn't have to wait; otherwise the store prepares itself."""

    def begin(self, plan: int, arrays: Arrays) -> bool:
        """Start to write the state as of a plan; the arrays may change once this returns.

        Returns whether the arrays are read meanwhile, so that each page that changes is copied.
        """

    def is_written(self, *, wait: bool = False) -> bool:
        """Whether the snapshot that was begun is durable."""

    def publish(self) -> object:
        """Make the written snapshot the newest one."""

    def cancel(self) -> None:
        """Drop a snapshot that was begun; returns when no background work is left."""

    def newest(self, fits: Callable[[Arrays], bool] = ...) -> tuple[int, Arrays] | None:
        """Return plan and arrays of the newest whole snapshot that fits."""


class ReachedStore(Protocol):
    """Keeps a note of the last plan whose effects are emitted and stored."""

    def write(self, reached: Reached) -> None:
        """Replace the note."""

    def read(self) -> Reached | None:
        """Return the note; None when there is none that is whole."""


class Rollouts(Protocol):
    """The contract of the roll-outs of a registry."""

    def in_force(self) -> RolloutRef | None:
        """Return the roll-out for the next plan, whose champion is the model in charge.

        None: there is none. Asked once for each new plan, after the model in charge.
        """

    def end(self, ref: RolloutRef, reason: str) -> None:
        """Record that the guards of a roll-out have ended it; called before each plan that leaves
        out one which is still in force."""


class Stores(NamedTuple):
    """The stores beside the log."""

    rows: Rows
    snapshots: SnapshotStore
    reached: ReachedStore | None = None
    """Spares a restart the effects that are done. With a group its checkpoints say that, and this
    note isn't used."""
    executor: Executor | None = None
    """Appends rows beside the batches; None: the worker appends them itself, between batches."""
    names: StoreNames | None = None
    """Names the store that an error comes from; None: by the domain's topics alone."""
    rollouts: Rollouts | None = None
    """The roll-out in force beside the model in charge, and where its end is recorded."""
    texts: Mapping[str, str] = MappingProxyType({})
    """Texts of definitions and rules, packed, for the first plan of this worker; dropped when a
    plan is seen that has them."""


class Cadence(NamedTuple):
    """The intervals of periodic work: pairs are records and seconds, whichever comes first."""

    snapshot: tuple[int, float]
    offline: tuple[int, float]
    commit_s: float = 0.0
