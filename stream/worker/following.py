"""The work of a follower on the batches that it applies: none.

journal  read on, plan after plan      state  changed as every worker changes it
log      read, never written           rows   not stored       checkpoints  not committed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from claimtrace.events import Outgoing

from ..engine.applied_batch import AppliedBatch
from ..engine.effects import Effects
from ..engine.engine import Engine
from ..group.following import Following
from ..group.group import Checkpoint
from ..journal.plan import TopicPartition
from .observer import WorkerObserver
from .offline_writer import OfflineWriter
from .ownership import Ownership
from .parts import LogParts


class FollowerOwnership(Ownership):
    """The partitions of a follower: none; batches aren't retained, as nothing is taken over."""

    def decide(self, applied: AppliedBatch) -> Effects:  # noqa: ARG002
        """Return no effects: the owners of the partitions decide."""
        return Effects([], {})

    def commit(self) -> bool:
        """Commit nothing."""
        return True

    def poll_group(self) -> None:
        """Own nothing."""

    def refresh_checkpoints(self) -> Mapping[TopicPartition, Checkpoint]:
        """Return no checkpoint: none matters here."""
        return {}


class NoOutput:
    """The `Output` of a follower: nothing is emitted."""

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Refuse to emit.

        Raises:
            AssertionError: there is something to emit.
        """
        assert not outgoing, f"a follower emits nothing, but plan {plan} has effects"

    def flush(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


class NoRows:
    """The offline store of a follower, `Rows`: nothing is stored."""

    def append_once(
        self,
        table: str,
        rows: pa.Table,
        *,
        versions: Mapping[str, int],  # noqa: ARG002
        before: Mapping[str, int],  # noqa: ARG002
    ) -> bool:
        """Refuse to store rows.

        Raises:
            AssertionError: always.
        """
        raise AssertionError(f"a follower stores nothing, not {len(rows)} rows of {table}")

    def committed(self, table: str, writer: str) -> int:  # noqa: ARG002
        """Return -1: nothing is stored."""
        return -1


def ownership_of(
    engine: Engine,
    log: LogParts,
    writer: OfflineWriter,
    retry: Callable[[Callable[[], Any]], Any],
    observer: WorkerObserver,
) -> Ownership:
    """Return the ownership of a worker in the log's group; a follower's owns nothing."""
    kind = FollowerOwnership if isinstance(log.group, Following) else Ownership
    return kind(engine, log, writer, retry, observer)
