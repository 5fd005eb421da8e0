"""The assembly of a follower: a worker that applies every plan and owns nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from claimtrace.clock import duration_ms

from .assembly import build_engine, shared_rollout_of, shared_scorer_of
from .observing import store_names

if TYPE_CHECKING:
    from featurestore.state_arrays import Arrays
    from stream.adapters.snapshots.snapshots import Snapshots
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from .opened_log import OpenedLog
    from .workspace import Workspace

_NEVER: Final = (2**62, 1e12)
"""An interval that never ends: a follower has no rows to append."""


def follower_folder(workspace: Workspace) -> Path:
    """Return the folder of a follower's own snapshots and lock, beside that of a worker."""
    return workspace.folder / "follower"


def build_follower(
    workspace: Workspace, log: OpenedLog, observer: WorkerObserver, stopping: Callable[[], bool]
) -> Driver:
    """Build the driver of a follower; it has not recovered yet.

    Args:
        workspace: models and settings; the caller holds the lock of `follower_folder`.
        log: as `Transport.open_to_follow` opened it.
        observer: told what happens.
        stopping: whether somebody asked the follower to end.
    """
    from stream.adapters.snapshots.snapshots import Snapshots
    from stream.worker.driver import Driver
    from stream.worker.following import NoRows
    from stream.worker.parts import Cadence, Stores

    stream = workspace.settings.stream
    # written by the process itself: it has threads, so that a fork of it wouldn't be safe
    own = Snapshots(follower_folder(workspace) / "snapshots", in_background=False)
    snapshots = FollowerSnapshots(own, Snapshots(workspace.state_folder / "snapshots"))
    return Driver(
        build_engine(
            workspace, log.terms, shared_scorer_of(workspace), shared_rollout_of(workspace)
        ),
        log.parts,
        Stores(NoRows(), snapshots, names=store_names(workspace)),
        Cadence(
            snapshot=(stream.snapshot_every_records, duration_ms(stream.snapshot_every) / 1000),
            offline=_NEVER,
            commit_s=_NEVER[1],
        ),
        workspace.clock,
        lambda: None,  # a follower writes no plan, so it names no champion
        observer,
        stopping,
    )


class FollowerSnapshots:
    """The snapshots of a follower: its own, and those of a worker in the same folder to begin with.

    Args:
        own: written and read.
        worker: read only; the worker may be at work.
    """

    def __init__(self, own: Snapshots, worker: Snapshots) -> None:
        self._own, self._worker = own, worker
        self.is_ready, self.begin, self.cancel = own.is_ready, own.begin, own.cancel
        self.is_written, self.publish = own.is_written, own.publish

    def newest(self, fits: Callable[[Arrays], bool] = lambda _: True) -> tuple[int, Arrays] | None:
        """Return the newest snapshot of both."""
        both = (each.newest(fits) for each in (self._own, self._worker))
        return max((each for each in both if each is not None), key=lambda e: e[0], default=None)
