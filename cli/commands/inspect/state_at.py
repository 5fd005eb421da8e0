"""The stream's state now or after a plan of the past, rebuilt from a snapshot and the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimtrace.editions import NEWEST, ROLLOUTS
from claimtrace.errors import UsageError

from ...console import notify, progress
from ...transports.base import planned_records
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.champion import Champion
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from stream.engine.engine import Engine
    from stream.engine.looked import Charge

    from ...transports.base import Transport


def engine_at(workspace: Workspace, at_plan: int | None = None, *, quiet: bool = False) -> Engine:
    """Build an engine with the state after a plan; by default after the newest plan of the journal.

    The state is a copy: nothing that is done with the engine changes the stream's.

    Args:
        workspace: the folder, or the log that it names.
        at_plan: the number of a plan; None: the newest.
        quiet: draw no progress bar.

    Raises:
        UsageError: there is no such plan.
    """
    if not workspace.has_journal:
        if at_plan:
            raise _no_plan(workspace, at_plan, 0)
        return build_engine(workspace)
    with open_transport(workspace) as transport:
        return _rebuilt(workspace, transport, at_plan, quiet=quiet)


def _rebuilt(
    workspace: Workspace, transport: Transport, at_plan: int | None, *, quiet: bool
) -> Engine:
    from stream.adapters.snapshots.snapshots import Snapshots
    from stream.engine.engine import plain_state

    engine = build_engine(workspace, transport.terms())
    newest = Snapshots(workspace.state_folder / "snapshots").newest(
        lambda arrays: at_plan is None or plain_state(arrays)[0] <= at_plan
    )
    if newest is not None:
        engine.restore(newest[1])
    source = transport.source()
    plans = [
        each
        for each in transport.plans(engine.plan + 1)
        if at_plan is None or each.number <= at_plan
    ]
    with progress("rebuild state", planned_records(plans), quiet=quiet) as advance:
        for plan in plans:
            source.order_topics(engine.tie_order)
            records = source.fetch(plan.ranges)
            engine.apply(plan, records)
            advance(len(records))
    if at_plan is not None and engine.plan != at_plan:
        raise _no_plan(workspace, at_plan, engine.plan)
    if engine.plan and engine.newest_plan is None:
        # the snapshot is of the last plan; those that begin editions follow each other
        for plan in transport.plans(max(1, engine.plan - NEWEST)):
            if plan.number <= engine.plan:
                engine.recall(plan)
    return engine


def _no_plan(workspace: Workspace, at_plan: int, last: int) -> UsageError:
    return UsageError(
        f"there is no plan {at_plan} in the journal",
        where=str(workspace.state_folder) if workspace.settings.source == "local"
        else workspace.settings.source,
        hint=f"the plans are 1 .. {last}" if last else "nothing has been planned yet: "
        "run claimtrace stream",
    )  # fmt: skip


def charge_now(workspace: Workspace, engine: Engine) -> Charge:
    """Return who would be in charge of the next plan, as the worker that writes it would say."""
    from stream.engine.looked import Charge

    champion = Champion(workspace, notify)
    model, rollout = champion(), champion.in_force()
    if engine.edition < ROLLOUTS or rollout == engine.breached:
        rollout = None
    return Charge(model, rollout)
