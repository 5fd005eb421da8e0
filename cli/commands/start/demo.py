"""`claimtrace demo`: the main job from end to end, on a simulated world."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.panel import Panel
from rich.rule import Rule

from claimtrace.clock import DAY_MS
from claimtrace.decisions import ALERTS_TOPIC
from claimtrace.errors import UsageError

from ...console import out, program, progress, safe
from ...stream_run import run_stream, show_ran
from ...wiring.workspace import CHAMPION, CONFIG_NAME, Workspace
from ..events.simulate import only_auto_claims, put_on_log, records_on_log, simulation_of
from ..inspect.features import run_diff, show_diff
from ..inspect.score import show_decision, top_referred
from ..inspect.verify import run_chain, run_verify, show_verified
from ..models.train import run_training, show_report

if TYPE_CHECKING:
    from producers.simulation.config import SimulationConfig
    from producers.simulation.simulator import Simulation


@dataclass(frozen=True)
class Story:
    """The size of the demo's world, and the events of its last day."""

    history_days: int = 365
    claims_per_day: float = 330.0
    policies: int = 60_000
    ring_claims: int = 14
    shown_claims: int = 5
    lost_field_ratio: float = 0.5
    start_ms: int = 1_735_689_600_000  # 2025-01-01


_LIVE_BATCH_RECORDS = 64

QUICK = Story(
    history_days=330,
    claims_per_day=100.0,
    policies=25_000,
    ring_claims=10,
    shown_claims=2,
)


def demo(
    ctx: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smaller world, in about half of the time.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 7,
) -> None:
    """Show the whole line: simulate, stream, train, promote, stream a day with a ring and a drift.

    Everything lands in the folder, and every command works on it afterwards. A demo that was
    interrupted goes on when the same command is run again.
    """
    workspace: Workspace = ctx.obj
    only_auto_claims(workspace)
    story = QUICK if quick else Story()
    begun = _begun(workspace, quick=quick, seed=seed)
    workspace = Workspace(_demo_settings(workspace, story))
    world = _World.of(workspace, story, seed)
    if begun is None:
        _keep_settings(workspace)
        _unfinished(workspace).write_text(_options(quick=quick, seed=seed))
    _title("1  history", f"{story.history_days} days of claims, policy changes and outcomes")
    world.simulate_history()
    show_ran(run_stream(workspace, until_end=True, title="stream history"))
    _title("2  a model", "fitted on the vectors that were served, judged on claims it has not seen")
    champion = workspace.registry.alias(CHAMPION)
    if champion is None:
        show_report(run_training(workspace))
    else:
        out.print(f"{champion.label} was trained before the demo was interrupted")
    _title("3  a day", f"with a ring of {story.ring_claims} claims, and a producer that loses the "
           f"police report of {story.lost_field_ratio:.0%}")  # fmt: skip
    world.simulate_day()
    show_ran(run_stream(_in_small_batches(workspace), until_end=True, title="stream the day"))
    out.print()
    _show_referred(workspace, story)
    out.print()
    _show_alerts(workspace)
    _title("4  proof", "replayed on a fresh state, and back-filled from the log")
    show_verified(run_verify(workspace))
    show_verified(run_chain(workspace))
    show_diff(run_diff(workspace))
    _unfinished(workspace).unlink()
    _show_places(workspace)


def _unfinished(workspace: Workspace) -> Path:
    """Return the file that marks a demo that hasn't come to its end."""
    return workspace.folder / "demo.unfinished"


def _options(*, quick: bool, seed: int) -> str:
    return f"claimtrace demo{' --quick' if quick else ''} --seed {seed}\n"


def _begun(workspace: Workspace, *, quick: bool, seed: int) -> str | None:
    """Return the command of a demo that was interrupted in the folder; None for a new folder.

    Raises:
        UsageError: the folder has a log that isn't of this demo, or of one that came to its end.
    """
    file = _unfinished(workspace)
    begun = file.read_text() if file.exists() else None
    if begun == _options(quick=quick, seed=seed):
        return begun
    if begun is not None and workspace.log_path.exists():
        raise UsageError("another demo was interrupted in this folder", where=str(workspace.folder),
                         hint=f"name another --folder, or end it: {begun.strip()}")  # fmt: skip
    if workspace.log_path.exists():
        raise UsageError(
            "the folder holds a log already",
            where=str(workspace.folder),
            hint="name another --folder, or remove this one",
        )
    return None


def _demo_settings(workspace: Workspace, story: Story) -> Any:
    """Return the user's settings with drift windows that fit into one day."""
    settings = workspace.settings
    share = story.claims_per_day / 1000
    decision = msgspec.structs.replace(
        settings.decision, capacity_per_day=40 * share, review_per_day=160 * share
    )
    drift = msgspec.structs.replace(settings.drift, window="4h", lateness="1h", min_count=10)
    return msgspec.structs.replace(settings, decision=decision, drift=drift)


def _in_small_batches(workspace: Workspace) -> Workspace:
    """Return the workspace with the batch size of a live stream; decisions don't depend on it."""
    live = msgspec.structs.replace(workspace.settings.stream, batch_records=_LIVE_BATCH_RECORDS)
    return Workspace(msgspec.structs.replace(workspace.settings, stream=live))


def _keep_settings(workspace: Workspace) -> None:
    """Write the settings into the folder, so that later commands on it have the same."""
    settings = workspace.settings
    lines = [
        "# What the demo was made with; commands on this folder read it.",
        "[decision]",
        f"capacity_per_day = {settings.decision.capacity_per_day!r}",
        f"review_per_day = {settings.decision.review_per_day!r}",
        "",
        "[drift]",
        f'window = "{settings.drift.window}"',
        f'lateness = "{settings.drift.lateness}"',
        f"min_count = {settings.drift.min_count}",
    ]
    workspace.folder.mkdir(parents=True, exist_ok=True)
    (workspace.folder / CONFIG_NAME).write_text("\n".join(lines) + "\n")


@dataclass
class _World:
    """The demo's simulated world, which goes on where an interrupted demo left it."""

    workspace: Workspace
    story: Story
    config: SimulationConfig
    simulation: Simulation

    @classmethod
    def of(cls, workspace: Workspace, story: Story, seed: int) -> _World:
        """Make the world: nothing is on the log yet."""
        from producers.simulation.config import Drift, Ring, SimulationConfig

        day = story.history_days
        config = SimulationConfig(
            seed=seed,
            start_ms=story.start_ms,
            days=day + 1,
            claims_per_day=story.claims_per_day,
            policies=story.policies,
            partitions=workspace.settings.partitions,
            drifts=(Drift(day, "missing_field", story.lost_field_ratio),),
            rings=(Ring(day, story.ring_claims),),
        )
        return cls(workspace, story, config, simulation_of(config))

    def simulate_history(self) -> None:
        """Put all days but the last on the log."""
        self._simulate(0, self.story.history_days, self.workspace.truth_path)

    def simulate_day(self) -> None:
        """Put the last day on the log."""
        for _ in self.simulation.chunks(self.story.history_days):
            pass  # in a demo that goes on these days are on the log, and their truth is written
        self._simulate(self.story.history_days, self.config.days, _day_truth(self.workspace))

    def _simulate(self, from_day: int, until_day: int, truth: Path) -> None:
        from producers.adapters.simulations import Recorded, read_recorded

        last = read_recorded(self.workspace.folder)
        asked = {"demo": until_day}
        if last is not None and (
            last.until_day > until_day or (last.finished and last.asked == asked)
        ):
            out.print("the events are on the log already")
            return
        if last is None or last.asked != asked:
            before = records_on_log(self.workspace, self.workspace.domain.topics)
            last = Recorded(self.config, from_day, until_day, asked, before)
        with progress("simulate") as advance:
            written = put_on_log(
                self.workspace, last, self.simulation, truth=truth, advance=advance
            )
        out.print(f"[bold]{written:,}[/] events on the log")


def _day_truth(workspace: Workspace) -> Path:
    return workspace.truth_path.with_name("truth-of-the-day.parquet")


def _title(name: str, words: str) -> None:
    out.print()
    out.print(Rule(f"[bold]{name}[/]  [dim]{words}[/]", align="left", style="blue"))


def _show_referred(workspace: Workspace, story: Story) -> None:
    """Print the top of the queue, and how many claims of the ring are in it."""
    day_start_ms = story.start_ms + story.history_days * DAY_MS
    referred = [d for d in top_referred(workspace, 10_000) if d.event_time_ms >= day_start_ms]
    out.print(f"[bold]the day's queue[/]: {len(referred):,} claims referred; the first of them:")
    for decision in referred[: story.shown_claims]:
        show_decision(decision)
    ring = _ring_claims(workspace)
    caught = sum(d.claim_id in ring for d in referred)
    out.print(f"[bold]{caught}[/] of the {len(ring)} claims of the day's ring are in the queue "
              "[dim](the simulator knows; the stream didn't)[/]")  # fmt: skip


def _ring_claims(workspace: Workspace) -> set[str]:
    import pyarrow.parquet as pq

    rows = pq.read_table(_day_truth(workspace)).to_pylist()
    return {row["claim_id"] for row in rows if (row["ring"] or "").startswith("commanded-")}


def _show_alerts(workspace: Workspace) -> None:
    log = workspace.log()
    try:
        records = log.read(ALERTS_TOPIC, 0, 0, 1000)
    finally:
        log.close()
    if not records:
        out.print("[yellow]no drift alert[/]")
    for record in records:
        alert = msgspec.json.decode(record.value or b"")
        lines = [f"[bold]{safe(alert['text'])}[/]", *(f"- {safe(e)}" for e in alert["effects"]),
                 f"[dim]{safe(alert['hint'])}[/]"]  # fmt: skip
        color = "red" if alert["state"] == "raised" else "green"
        title = f"drift alert, {safe(alert['layer'])}, {safe(alert['state'])}"
        out.print(Panel("\n".join(lines), title=title, title_align="left", border_style=color))


def _show_places(workspace: Workspace) -> None:
    folder = workspace.folder
    at = f"{program()} --folder {shlex.quote(str(folder))}"
    _title("where everything lies", str(folder))
    places = (
        ("log.db", "all events, decisions, dead letters, drift records and alerts"),
        ("state/", "the journal and the snapshots"),
        ("offline/", "Delta tables of events, decisions with vectors, labels, profiles, drift"),
        ("models/", "the registry: versions, approvals"),
        ("truth*.parquet", "what is really fraud; only the simulator knows"),
    )
    for name, words in places:
        out.print(f"  [cyan]{name:<15}[/] {words}")
    out.print("\n[dim]go on with[/]")
    for command in (
        f"{at} features show",
        f"{at} offline tables",
        f"{at} models history",
        f"{at} doctor",
    ):
        out.print(f"  {safe(command)}", soft_wrap=True)
