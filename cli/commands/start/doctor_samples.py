"""The samples that `claimtrace doctor` reads of what it calls ok; `--deep` reads all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from claimtrace.errors import StateError

if TYPE_CHECKING:
    from ...wiring.workspace import Workspace

_PLACES: Final = 5
"""Records that are read of each partition, from the first to the last; each has its batch's
checksum verified."""

_FILES: Final = 3
"""Files that are read of each offline table; that all of them are there is seen in any case."""


def sample_log(workspace: Workspace, *, deep: bool = False) -> str:
    """Read some batches of each partition of the embedded log, or all; returns the topics' sizes.

    Raises:
        StateError: a batch is damaged or missing.
    """
    log = workspace.log()
    try:
        ends = {topic: log.ends(topic) for topic in sorted(log.topics())}
        for topic, positions in ends.items():
            for partition, end in enumerate(positions):
                step = 1000 if deep else max(1, (end - 1) // (_PLACES - 1))
                for at in {*range(0, end, step), max(0, end - 1)} if end else ():
                    log.read(topic, partition, at, min(step, end - at) if deep else 1)
    finally:
        log.close()
    return ", ".join(f"{topic} {sum(positions):,}" for topic, positions in ends.items())


def sample_offline(workspace: Workspace, *, deep: bool = False) -> str:
    """Compare files of each offline table with what their commits recorded; returns versions.

    Raises:
        StateError: a file is missing or damaged; or tables are missing though rows were stored.
    """
    store = workspace.offline
    tables = store.tables()
    _check_decisions_stored(workspace, tables)
    read = unrecorded = 0
    for name in sorted(tables):
        found = store.check_files(name, None if deep else _FILES)
        read, unrecorded = read + found.read, unrecorded + found.unrecorded
    if not tables:
        return "empty yet"
    versions = ", ".join(f"{name} v{version}" for name, version in sorted(tables.items()))
    rest = f"; {unrecorded:,} have no recorded digest" if unrecorded else ""
    return f"{versions}; {read:,} files have the digests of their commits{rest}"


def _check_decisions_stored(workspace: Workspace, tables: dict[str, int]) -> None:
    """Refuse a store without decisions beside a note that says that they were stored."""
    from claimtrace.decisions import GENESIS
    from featurestore.offline.tables import DECISIONS
    from stream.adapters.snapshots.reached_file import ReachedFile

    reached = ReachedFile(workspace.state_folder / "reached").read()
    if DECISIONS in tables or reached is None or set(reached.chains.values()) <= {GENESIS}:
        return
    raise StateError(
        f"the decisions up to plan {reached.plan:,} were stored, and are gone",
        where=str(workspace.settings.offline or workspace.folder / "offline"),
        hint="restore the offline store from a copy, or replay the log into a new folder",
    )
