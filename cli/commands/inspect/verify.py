"""`claimtrace verify`: replay all decisions and compare them, byte for byte."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import NoJournal, UsageError

from ...console import out, print_json, progress, safe
from ...transports.base import planned_records
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.workspace import Workspace
from ..proof_lines import show_covered, show_span
from .sealing import read_seal, seal_now, seal_problems
from .second_places import PARTS, SecondPlaces, compare, second_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claimtrace.events import Record
    from stream.journal.plan import Plan
    from stream.proofs.coverage import DecisionsEnd, Walk
    from stream.proofs.seal_line import Seal

    from ...transports.base import Transport


class ChainProof(NamedTuple):
    """The result of a check of the chains, with what a seal needs beside it."""

    result: Any
    plans: list[Plan]
    tables: dict[str, int]


def verify(
    ctx: typer.Context,
    chain: Annotated[
        bool, typer.Option("--chain", help="Only check that no decision was edited or dropped.")
    ] = False,
    into: Annotated[
        Path | None, typer.Option(help="Also write the replayed decisions to a log in this folder.")
    ] = None,
    against: Annotated[
        str, typer.Option(help="A line of `claimtrace seal`, or a file with it: what it had is "
                          "still there.")
    ] = "",
    require: Annotated[
        str, typer.Option(help="Parts that must be covered, with commas: journal, state, offline, "
                          "approvals.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:  # fmt: skip
    """Replay the whole log on a fresh state and compare every decision, byte for byte.

    Works on a copy of the folder on any machine, a read-only one too: a decision depends on the
    log, the journal, the definitions and the models, and on nothing else. The result says what it
    covered, and compares the heads of the chains with those that state, offline store and approvals
    name. Beside workers it goes as far as the log went at its start. Exit code 1 when anything
    differs, or a part that --require names can't be covered.
    """
    from stream.proofs.coverage import missing_parts, required_parts

    required = required_parts(require, PARTS)
    earlier = read_seal(against) if against else None
    if chain:
        result = prove_chain(ctx.obj, earlier).result
    else:
        result = run_verify(ctx.obj, into, earlier, quiet=as_json)
    if as_json:
        print_json(result)
    else:
        show_verified(result, required)
    wrong = getattr(result, "differ", 0) or getattr(result, "broken", ()) or result.problems
    if wrong or missing_parts(result.covered, required):
        raise typer.Exit(1)


def run_verify(
    workspace: Workspace, into: Path | None = None, against: Seal | None = None, *,
    quiet: bool = False,
) -> Any:  # fmt: skip
    """Replay the journal on a fresh engine; returns a `stream.proofs.verify.ReplayResult`.

    Raises:
        UsageError: nothing has been decided yet, so that nothing could be proven.
    """
    from claimtrace.adapters.embedded_log.log import EmbeddedLog
    from stream.adapters.embedded.log import EmbeddedOutput
    from stream.proofs.verify import replay

    with ExitStack() as opened:
        transport = opened.enter_context(open_transport(workspace))
        places, ends, walk = _begin(workspace, transport, against)
        plans = list(transport.plans())
        _check_something(workspace, plans, ends, places)
        emit = None
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
            copy = opened.enter_context(EmbeddedLog(into / "log.db"))
            emit = EmbeddedOutput(copy, transport.partitions(workspace.domain.claim.topic)).emit
        advance = opened.enter_context(progress("verify", planned_records(plans), quiet=quiet))
        result = replay(
            build_engine(workspace, transport.terms()),
            plans,
            transport.source(),
            lambda partition: transport.records(DECISIONS_TOPIC, partition),
            lambda records: advance(records),
            emit,
            may_repeat=transport.may_repeat,
            ends=ends,
            walk=walk,
        )
    return _completed(workspace, result, places, walk, plans, against)


def run_chain(workspace: Workspace) -> Any:
    """Check every chain; returns a `stream.proofs.verify.ChainCheck`."""
    return prove_chain(workspace).result


def prove_chain(workspace: Workspace, against: Seal | None = None) -> ChainProof:
    """Check every chain, and compare its head with those that other places name.

    Raises:
        UsageError: nothing has been decided yet, so that nothing could be proven.
    """
    from stream.proofs.coverage import until
    from stream.proofs.verify import check_chains

    def decisions(partition: int) -> Iterator[Record]:
        return until(transport.records(DECISIONS_TOPIC, partition), ends.get(partition))

    with open_transport(workspace) as transport:
        places, ends, walk = _begin(workspace, transport, against)
        try:
            plans = list(transport.plans())
        except NoJournal:  # a copy may leave it out
            plans = []
        _check_something(workspace, plans, ends, places)
        partitions = {partition: decisions(partition) for partition in ends}
        result = check_chains(partitions, may_repeat=transport.may_repeat, walk=walk)
        result = _with_emptied_topic(result, transport, plans, workspace)
    whole = _completed(workspace, result, places, walk, plans, against)
    return ChainProof(whole, plans, places.tables)


def _begin(
    workspace: Workspace, transport: Transport, against: Seal | None
) -> tuple[SecondPlaces, dict[int, DecisionsEnd], Walk]:
    """Read the second places, and then the ends of the log: it has all that they name."""
    from stream.proofs.coverage import Walk

    places = second_places(workspace, is_shared=transport.may_repeat)
    sealed = {head for _, head in against.decisions.values()} if against is not None else set()
    return places, transport.decision_ends(), Walk(places.wanted | sealed)


def _check_something(
    workspace: Workspace, plans: list[Plan], ends: dict[int, DecisionsEnd], places: SecondPlaces
) -> None:
    """Refuse a proof over nothing: it would hold whatever had been lost.

    Raises:
        UsageError: there is no plan, no decision, and no trace of one.
    """
    if plans or places.wanted or any(end.position for end in ends.values()):
        return
    raise UsageError(
        "nothing has been decided yet, so there is nothing to prove",
        where=str(workspace.folder),
        hint="run claimtrace stream; or is this another folder, or another source?",
    )


def _with_emptied_topic(
    result: Any, transport: Transport, plans: list[Plan], workspace: Workspace
) -> Any:
    """Add a problem when the journal has planned claims, and the log answers none of them."""
    from claimtrace.decisions import DEAD_TOPIC

    claims = workspace.domain.claim.topic
    planned = sum(
        span.to_position - span.from_position
        for plan in plans for span in plan.ranges if span.topic == claims
    )  # fmt: skip
    if result.decisions or not planned:
        return result
    dead = any(
        next(iter(transport.records(DEAD_TOPIC, partition)), None) is not None
        for partition in range(transport.partitions(DEAD_TOPIC))
    )
    if dead:
        return result
    line = f"the journal has planned {planned:,} claims, but the log has no decision"
    return dataclasses.replace(result, problems=[line])


def _completed(
    workspace: Workspace, result: Any, places: SecondPlaces, walk: Walk, plans: list[Plan],
    against: Seal | None,
) -> Any:  # fmt: skip
    """Add to a result what the second places, and an earlier seal, say about it."""
    covered, problems = compare(workspace, places, walk, plans)
    problems = [*result.problems, *problems]
    if against is not None:
        now = seal_now(workspace, plans, result.partitions, places.tables)
        problems += seal_problems(workspace, against, now, walk, plans)
    return dataclasses.replace(result, covered=covered, problems=problems)


def show_verified(result: Any, required: list[str] | None = None) -> None:
    """Print the result of either proof: a line, and what it covered."""
    broken = getattr(result, "broken", None)
    if broken is None:
        state = "[bold green]0[/]" if not result.differ else f"[bold red]{result.differ:,}[/]"
        replayed = f"{result.records:,} records, {result.plans:,} plans replayed"
        out.print(f"{state} of {result.decisions:,} decisions differ [dim]({replayed})[/]")
        if result.first:
            out.print(f"  [red]first: {safe(result.first)}[/]")
        if result.later:
            out.print(f"  [yellow]bounded by the ends of the log at the start: {result.later:,} "
                      "decisions came after, and were not compared[/]")  # fmt: skip
    elif broken:
        out.print(f"[bold red]{len(broken):,}[/] of {result.decisions:,} links are broken")
        for place in broken[:10]:
            out.print(f"  [red]{safe(place)}[/]")
    elif result.problems:
        out.print(f"[bold red]the chain is not whole[/]: {result.decisions:,} decisions")
    else:
        count = f"{result.decisions:,} decisions"
        out.print(f"[bold green]the chain holds[/]: {count}, none edited, dropped or inserted")
    for line in result.problems:
        out.print(f"  [red]{safe(line)}[/]")
    show_span(result.partitions, result.head)
    show_covered(result.covered, required or [])
