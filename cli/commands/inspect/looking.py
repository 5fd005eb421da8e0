"""Looks at claims with the stream's state as of now, or as of a plan of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import UsageError
from claimtrace.looks import AsOf
from serving.batches.batch import Asked

from ...wiring.workspace import Workspace
from .state_at import charge_now, engine_at

if TYPE_CHECKING:
    from stream.engine.engine import Engine
    from stream.engine.looked import Charge


class Look(NamedTuple):
    """A state to look at claims with, and the time at which they are looked at."""

    engine: Engine
    charge: Charge
    as_of: AsOf
    log_time_ms: int


def open_look(workspace: Workspace, asked: Asked, *, quiet: bool = False) -> Look:
    """Rebuild the state that is asked for.

    Raises:
        UsageError: there is no such plan or version, or the version fits other definitions.
    """
    from stream.engine.looked import Charge

    other = None if asked.model is None else workspace.published(asked.model)
    if other is not None and (misfit := workspace.misfit(other)) is not None:
        raise UsageError(f"model {other.label} can't score these claims: {misfit.words}",
                         where="--model")  # fmt: skip
    engine = engine_at(workspace, asked.at_plan, quiet=quiet)
    if other is not None:
        charge = Charge(other)
    else:
        charge = charge_now(workspace, engine) if asked.at_plan is None else engine.charge
    now_ms = asked.log_time_ms
    if now_ms is None and asked.at_plan is not None and engine.newest_plan is not None:
        now_ms = engine.newest_plan.now_ms
    if now_ms is None:
        now_ms = workspace.clock.now_ms()
    return Look(engine, charge, engine.as_of(now_ms), now_ms)


def look_again(
    workspace: Workspace,
    as_of: AsOf,
    log_time_ms: int,
    charge: tuple[ModelRef | None, RolloutRef | None],
    *,
    quiet: bool = False,
) -> Look:
    """Rebuild the state that was looked at before.

    Raises:
        UsageError: the journal isn't the one of then.
    """
    from stream.engine.looked import Charge

    engine = engine_at(workspace, as_of.plan, quiet=quiet)
    if engine.as_of(log_time_ms) != as_of:
        raise UsageError(f"plan {as_of.plan} isn't the one that was looked at",
                         where="the journal", hint="is this another folder?")  # fmt: skip
    return Look(engine, Charge(*charge), as_of, log_time_ms)
