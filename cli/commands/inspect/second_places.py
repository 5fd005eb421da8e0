"""The second places that a proof of decisions is compared with: state, offline store, approvals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from claimtrace.decisions import GENESIS
from claimtrace.errors import StateError

from ..models.registry_proof import check_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.journal.plan import Plan
    from stream.proofs.coverage import Covered, Head, StoredDecisions, Walk

    from ...wiring.workspace import Workspace

PARTS: Final = ("journal", "state", "offline", "approvals")
_STORED: Final = (
    "SELECT partition, count(*) AS n, arg_max(chain, position) AS chain "
    "FROM decisions GROUP BY partition ORDER BY partition"
)


class SecondPlaces(NamedTuple):
    """Read before the ends of the log are, so that the log has everything that they name.

    Attributes:
        heads: the heads that notes and snapshots of the state name.
        stored: the rows of the offline store; None when the folder has no offline store.
        tables: the versions of its tables.
        damage: why the offline store can't be read, if it can't.
        is_shared: several workers are on the log, each maybe with an offline store of its own.
    """

    heads: Sequence[Head]
    stored: Sequence[StoredDecisions] | None
    tables: dict[str, int]
    damage: str
    is_shared: bool

    @property
    def wanted(self) -> set[str]:
        """The chains to find on the log."""
        rows = self.stored or ()
        return ({each.chain for each in self.heads} | {each.chain for each in rows}) - {GENESIS}


def second_places(workspace: Workspace, *, is_shared: bool) -> SecondPlaces:
    """Read what state and offline store say about the decisions."""
    heads = _heads(workspace)
    tables: dict[str, int] = {}
    stored, damage = None, ""
    try:
        tables = workspace.offline.tables() if has_offline(workspace) else {}
        stored = _stored(workspace, tables)
    except StateError as error:  # the decisions can be proven all the same
        damage = error.what
    return SecondPlaces(heads, stored, tables, damage, is_shared)


def has_offline(workspace: Workspace) -> bool:
    """Whether there is an offline store; a copy of a folder may leave it out."""
    place = workspace.settings.offline
    return "://" in place or Path(place or workspace.folder / "offline").is_dir()


def compare(
    workspace: Workspace, places: SecondPlaces, walk: Walk, plans: Sequence[Plan]
) -> tuple[list[Covered], list[str]]:
    """Compare what a walk met with the second places; returns what was covered, and problems."""
    from stream.proofs.coverage import Covered, head_problems
    from stream.proofs.seal_line import journal_heads

    problems = head_problems(walk, places.heads)
    names = sorted({head.where for head in places.heads})
    covered = [
        Covered("journal", bool(plans), f"plans 1 to {len(plans):,}, head "
                f"{journal_heads(plans)[-1][:12]}" if plans else "there is none in this folder"),
        Covered("state", bool(names), f"heads of {', '.join(names)}" if names
                else "no note or snapshot in this folder has a head"),
    ]  # fmt: skip
    offline, wrong = _compare_offline(places, walk)
    models, changed = _compare_models(workspace)
    return [*covered, offline, models], [*problems, *wrong, *changed]


def _heads(workspace: Workspace) -> list[Head]:
    from stream.adapters.snapshots.reached_file import ReachedFile
    from stream.adapters.snapshots.snapshots import Snapshots
    from stream.engine.engine import plain_state
    from stream.proofs.coverage import Head

    heads: list[Head] = []
    for _, arrays in Snapshots(workspace.state_folder / "snapshots").whole():
        plan, _, chains, _ = plain_state(arrays)
        heads += [Head(f"the snapshot of plan {plan}", p, chain) for p, chain in chains]
    reached = ReachedFile(workspace.state_folder / "reached").read()
    if reached is not None:
        heads += [Head(f"reached (plan {reached.plan})", p, chain)
                  for p, chain in reached.chains.items()]  # fmt: skip
    return [head for head in heads if head.chain != GENESIS]


def _stored(workspace: Workspace, tables: dict[str, int]) -> list[StoredDecisions] | None:
    from featurestore.offline.tables import DECISIONS
    from stream.proofs.coverage import StoredDecisions

    if not tables:
        return None
    if DECISIONS not in tables:
        return []
    rows = workspace.offline.sql(_STORED).to_pylist()
    return [StoredDecisions(row["partition"], row["n"], row["chain"]) for row in rows]


def _compare_offline(places: SecondPlaces, walk: Walk) -> tuple[Covered, list[str]]:
    from stream.proofs.coverage import Covered, offline_problems

    if places.damage:
        return Covered("offline", False, "it can't be read"), [f"offline: {places.damage}"]
    if places.stored is None:
        return Covered("offline", False, "there is no offline store in this folder"), []
    problems = offline_problems(walk, places.stored, places.heads)
    if problems and places.is_shared:
        # on a shared log each worker may store its own rows, or be ahead of what is committed
        return Covered("offline", False, f"{problems[0]}; other workers' rows may be elsewhere"), []
    rows = sum(each.rows for each in places.stored)
    return Covered("offline", True, f"{rows:,} rows of decisions"), problems


def _compare_models(workspace: Workspace) -> tuple[Covered, list[str]]:
    from stream.proofs.coverage import Covered

    if not workspace.registry.exists():
        return Covered("approvals", False, "there is no registry in this folder"), []
    found = check_models(workspace)
    head = next((each for each in found.covered if each.part == "head"), None)
    problems = [f"approvals: {line}" for line in found.problems]
    if head is None or not head.covered:
        return Covered("approvals", False, head.found if head else "the log is damaged"), problems
    return Covered("approvals", True, f"{found.entries:,} entries"), problems
