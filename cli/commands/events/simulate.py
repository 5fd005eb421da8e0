"""`claimtrace simulate`: put the events of a simulated world on the log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress
from ...wiring.workspace import Workspace
from .simulation_options import ClaimsPerDay, Days, Fraud, Policies, Seed, Start

if TYPE_CHECKING:
    from producers.simulation.config import Drift, Ring, SimulationConfig
    from producers.simulation.simulator import Simulation


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
    append: Annotated[bool, typer.Option(help="Add to a log that has claims already.")] = False,
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

    Kinds of drift: inflation, new_shop_mix, missing_field, channel_shift.
    """
    from producers.adapters.embedded import write_chunks
    from producers.simulation.config import SimulationConfig

    workspace: Workspace = ctx.obj
    only_auto_claims(workspace)
    config = SimulationConfig(
        seed=seed,
        start_ms=midnight_ms(start),
        days=days,
        claims_per_day=claims_per_day,
        policies=policies,
        partitions=workspace.settings.partitions,
        fraud_ratio=fraud,
        drifts=tuple(_drift(text) for text in drift or ()),
        rings=tuple(_ring(text) for text in ring or ()),
    )
    log = workspace.log(create=True)
    try:
        if sum(log.ends(workspace.domain.claim.topic)) and not append:
            raise UsageError("the log has claims already", where=str(workspace.log_path),
                             hint="name another --folder, or --append to add to it")  # fmt: skip
        expected = round(days * claims_per_day * 2) + policies
        with progress("simulate", expected, quiet=as_json) as advance:
            chunks = simulation_of(config).chunks()
            written = write_chunks(chunks, log, workspace.truth_path, lambda n: advance(n))
    finally:
        log.close()
    if as_json:
        print_json({"written": written, "log": str(workspace.log_path)})
        return
    out.print(
        f"[bold]{written:,}[/] events on {workspace.log_path}; "
        f"what is fraud: {workspace.truth_path}"
    )
    out.print("[dim]next: claimtrace stream --until-end[/]")


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


def _drift(text: str) -> Drift:
    from producers.simulation.config import DRIFT_KINDS, Drift

    kind, _, rest = text.partition("@")
    day, _, size = rest.partition(":")
    try:
        if kind not in DRIFT_KINDS:
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
