"""`claimtrace simulate`: put the events of a simulated world on the log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe
from ...wiring.workspace import Workspace
from .simulation_options import ClaimsPerDay, Days, Fraud, Policies, Seed, Start

if TYPE_CHECKING:
    from producers.adapters.simulations import Recorded
    from producers.simulation.config import Drift, Ring, SimulationConfig
    from producers.simulation.simulator import Simulation

    from ...progress_bar import Advance


def simulate(
    ctx: typer.Context,
    days: Days = 365,
    claims_per_day: ClaimsPerDay = 200.0,
    policies: Policies = 20_000,
    seed: Seed = 7,
    start: Start = "2025-01-01",
    fraud: Fraud = 0.03,
    drift: Annotated[
        list[str] | None,
        typer.Option(help="Drift on command, KIND@DAY:SIZE, e.g. inflation@300:0.3. Repeatable."),
    ] = None,
    ring: Annotated[
        list[str] | None,
        typer.Option(
            help="A staged-accident ring on command, DAY:CLAIMS, e.g. 350:12. Repeatable."
        ),
    ] = None,
    append: Annotated[
        bool, typer.Option(help="Let the world of this folder go on for --days more.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as JSON.")
    ] = False,
) -> None:
    """Make a log of claims, policy changes and outcomes of a simulated world.

    Policies begin and end, families share phones, shops have regular customers, amounts inflate.
    Five kinds of fraud are among the claims: staged-accident rings, a crooked repair shop, inflated
    injuries, early-policy claims and a wave of stolen identities. Outcomes arrive weeks later, some
    never; some events are late, doubled or malformed. The ground truth goes to truth.parquet, not
    on the log.

    With --append the same world goes on where it ended: new claims, and the outcomes of old ones.
    An interrupted simulation goes on when the same command is run again.

    Kinds of drift: inflation, new_shop_mix, missing_field, channel_shift.
    """
    from producers.simulation.config import SimulationConfig

    workspace: Workspace = ctx.obj
    only_auto_claims(workspace)
    # as it is read back from the record
    chosen = {name: value for name, value in ctx.params.items() if name != "as_json"}
    asked = {n: list(v) if isinstance(v, tuple) else v for n, v in chosen.items()}
    more = (tuple(_drift(text) for text in drift or ()), tuple(_ring(text) for text in ring or ()))
    if append:
        wanted = _next_run(ctx, workspace, asked, days, *more)
    else:
        drifts, rings = more
        config = SimulationConfig(
            seed=seed, start_ms=midnight_ms(start), days=days, claims_per_day=claims_per_day,
            policies=policies, partitions=workspace.settings.partitions, fraud_ratio=fraud,
            drifts=drifts, rings=rings,
        )  # fmt: skip
        wanted = first_run(workspace, config, config.days, asked)
    with progress("simulate", quiet=as_json) as advance:
        written = put_on_log(workspace, wanted, simulation_of(wanted.config), advance=advance)
    if as_json:
        print_json({"written": written, "log": str(workspace.log_path)})
        return
    out.print(
        f"[bold]{written:,}[/] events on {safe(workspace.log_path)}; "
        f"what is fraud: {safe(workspace.truth_path)}"
    )
    out.print("[dim]next: claimtrace stream --until-end[/]")


def first_run(
    workspace: Workspace, config: SimulationConfig, until_day: int, asked: dict[str, Any]
) -> Recorded:
    """Return the first run of a world on a log without claims, or the one that was interrupted.

    Raises:
        UsageError: the log has claims, or an interrupted simulation of other options.
    """
    from producers.adapters.simulations import Recorded, read_recorded

    records = records_on_log(workspace, workspace.domain.topics)
    begun = read_recorded(workspace.folder) if records else None
    if begun is not None and not begun.finished:
        return _again(workspace, begun, asked)
    if records_on_log(workspace, [workspace.domain.claim.topic]):
        raise UsageError("the log has claims already", where=str(workspace.log_path),
                         hint="name another --folder, or --append to add to it")  # fmt: skip
    return Recorded(config, 0, until_day, asked, records)


def _next_run(
    ctx: typer.Context,
    workspace: Workspace,
    asked: dict[str, Any],
    days: int,
    drifts: tuple[Drift, ...],
    rings: tuple[Ring, ...],
) -> Recorded:
    """Return the run that goes on where the last one ended, or the one that was interrupted."""
    from producers.adapters.simulations import Recorded, read_recorded

    records = records_on_log(workspace, workspace.domain.topics)
    begun = read_recorded(workspace.folder) if records else None
    if begun is None:
        raise UsageError(
            "there is no simulation to go on with", where=str(workspace.folder),
            hint="simulate without --append, into another --folder if this one has claims",
        )  # fmt: skip
    if not begun.finished:
        return _again(workspace, begun, asked)
    config = begun.config
    same = {
        "claims_per_day": config.claims_per_day, "policies": config.policies, "seed": config.seed,
        "start": _day_of(config.start_ms), "fraud": config.fraud_ratio,
    }  # fmt: skip
    for name, value in same.items():
        source = ctx.get_parameter_source(name)
        if asked[name] != value and source is not None and source.name != "DEFAULT":
            raise UsageError(
                f"the world was begun with {value}, and goes on so",
                where="--" + name.replace("_", "-"),
                hint="--append needs no more than --days, --drift and --ring",
            )
    longer = config.longer(days, drifts, rings)
    return Recorded(longer, begun.until_day, longer.days, asked, records)


def _again(workspace: Workspace, begun: Recorded, asked: dict[str, Any]) -> Recorded:
    if begun.asked != asked:
        options = " ".join(f"{name}={value}" for name, value in begun.asked.items())
        raise UsageError(
            "a simulation was interrupted here that was asked for with other options",
            where=str(workspace.folder),
            hint=f"run it again as it was ({options}), or name another --folder",
        )
    return begun


def put_on_log(
    workspace: Workspace, wanted: Recorded, simulation: Simulation, *, truth: Path | None = None,
    advance: Advance,
) -> int:  # fmt: skip
    """Put the events of a simulation on the log, as far as they aren't there; returns how many."""
    from producers.adapters.simulations import run_simulation

    log = workspace.log(create=True)
    try:
        return run_simulation(
            workspace.folder, log, wanted, simulation, truth or workspace.truth_path,
            lambda records: advance(records),
        )  # fmt: skip
    finally:
        log.close()


def records_on_log(workspace: Workspace, topics: Sequence[str]) -> int:
    """Return how many records the log has on some topics; makes no log where there is none."""
    from producers.adapters.simulations import records_on

    if not workspace.log_path.exists():
        return 0
    log = workspace.log()
    try:
        return records_on(log, topics)
    finally:
        log.close()


def simulation_of(config: SimulationConfig) -> Simulation:
    """Return a simulation that writes the events of the claims domain."""
    from claimtrace_examples.auto_claims import ClaimAdjudicated, ClaimFiled, PolicyChanged
    from producers.simulation.event_rows import EventClasses
    from producers.simulation.simulator import Simulation

    return Simulation(config, EventClasses(ClaimFiled, PolicyChanged, ClaimAdjudicated))


def only_auto_claims(workspace: Workspace) -> None:
    """Refuse to simulate for a domain other than auto claims."""
    from claimtrace_examples.auto_claims import ClaimFiled

    if workspace.domain.claim is not ClaimFiled:
        raise UsageError(
            f"there is no simulator for the domain {workspace.domain.name}",
            where="setting domain",
            hint="use claimtrace_examples.auto_claims, or put your own events on the log "
            "with `claimtrace replay`",
        )


def midnight_ms(text: str) -> int:
    """Return the time at which a day such as 2025-01-01 begins in UTC, in milliseconds."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{text!r} is no day", where="--start", hint="write 2025-01-01") from None
    return round(day.timestamp()) * 1000


def _day_of(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def _drift(text: str) -> Drift:
    from producers.simulation.config import DRIFT_KINDS, Drift

    kind, _, rest = text.partition("@")
    day, _, size = rest.partition(":")
    try:
        if kind not in DRIFT_KINDS or not math.isfinite(float(size)):
            raise ValueError
        return Drift(int(day), kind, float(size))
    except ValueError:
        hint = "write inflation@300:0.3; kinds are " + ", ".join(DRIFT_KINDS)
        raise UsageError(f"{text!r} is no drift", where="--drift", hint=hint) from None


def _ring(text: str) -> Ring:
    from producers.simulation.config import Ring

    day, _, claims = text.partition(":")
    try:
        return Ring(int(day), int(claims))
    except ValueError:
        raise UsageError(f"{text!r} is no ring", where="--ring", hint="write 350:12") from None
