"""`claimtrace topics`: make and check the topics or streams that a domain needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.clock import DAY_MS, duration_ms
from claimtrace.errors import ConfigError, UsageError
from claimtrace.settings.schema import KINESIS

from ...console import out, print_json, safe, table
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from claimtrace.adapters.kafka.topics_admin import KafkaTopics
    from claimtrace.adapters.kinesis.streams_admin import KinesisStreams
    from claimtrace.adapters.required_topics import Complaint, FoundTopic, WantedTopic

app = typer.Typer(
    help="Make and check the Kafka topics or Kinesis streams of a domain.", no_args_is_help=True
)


@app.command()
def create(
    ctx: typer.Context,
    partitions: Annotated[
        int | None,
        typer.Option(help="Partitions of inputs and decisions; topics with fewer get more."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be made; make nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Make the missing topics; the command may be repeated.

    What is there is never changed, but for more partitions when you ask for them: keys may move to
    other partitions then, and nothing is lost. Differences from what is needed are shown, with the
    command that mends it.
    """
    workspace: Workspace = ctx.obj
    cluster = _cluster(workspace)
    if partitions is not None and not 1 <= partitions <= 1024:
        raise UsageError(f"{partitions} partitions", where="--partitions", hint="1 .. 1024")
    wanted = _wanted(workspace, partitions)
    before = cluster.found([topic.name for topic in wanted])
    wanted = _matching(workspace, wanted, before, partitions)
    missing = [topic for topic in wanted if topic.name not in before]
    grown = _to_grow(wanted, before, asked=partitions is not None)
    cluster.create(missing, only_check=dry_run)
    table_state = ""
    if not dry_run:
        cluster.grow(grown)
        table_state = _table(workspace)
    after = before if dry_run else cluster.found([topic.name for topic in wanted])
    found_now = after | (_as_made(missing) if dry_run else {})
    found_wrong = _complaints(workspace, wanted, found_now)
    made = [topic.name for topic in missing]
    if as_json:
        print_json({"made": made, "grown": grown, "there": sorted(before), "dry_run": dry_run,
                    "complaints": found_wrong})  # fmt: skip
        return
    verb = "would be made" if dry_run else "made"
    state = {topic.name: "there" for topic in wanted}
    state |= dict.fromkeys(made, verb)
    state |= {name: f"{verb} larger: {count} partitions" for name, count in grown.items()}
    _show(wanted, found_now, state)
    if table_state:
        out.print(f"table {safe(workspace.settings.kinesis.table)}: {table_state}")
    _show_complaints(found_wrong)


@app.command("list")
def list_(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """Show the domain's topics as they are, and what is wrong with them."""
    workspace: Workspace = ctx.obj
    wanted = _wanted(workspace, None)
    found = _cluster(workspace).found([topic.name for topic in wanted])
    found_wrong = _complaints(workspace, wanted, found)
    if as_json:
        print_json({"topics": list(found.values()), "complaints": found_wrong})
        return
    _show(wanted, found, {t.name: "there" if t.name in found else "missing" for t in wanted})
    _show_complaints(found_wrong)


def check_topics(workspace: Workspace) -> str:
    """Return a line on the topics for `doctor`.

    Raises:
        ConfigError: the first thing that is wrong, with the fix.
        StoreUnavailable: the brokers don't answer.
    """
    if workspace.settings.source == "local":
        return "on the embedded log, which keeps everything"
    wanted = _wanted(workspace, None)
    found = _cluster(workspace).found([topic.name for topic in wanted])
    for first in _complaints(workspace, wanted, found):
        raise ConfigError(first.what, where=f"topic {first.topic}", hint=first.hint)
    _check_table(workspace)
    inputs = [found[topic.name] for topic in wanted if topic.role == "input"]
    copies = min(topic.replication for topic in found.values())
    return f"{len(found)} topics, inputs of {inputs[0].partitions} partitions, copies: {copies}"


def _table(workspace: Workspace) -> str:
    """Make the table of journal and leases of workers on Kinesis; returns its state in a line."""
    if not workspace.settings.source.startswith(KINESIS):
        return ""
    from claimtrace.adapters.kinesis.streams_admin import KinesisStreams

    return KinesisStreams(workspace.settings.kinesis_connection, workspace.clock).create_table()


def _check_table(workspace: Workspace) -> None:
    if workspace.settings.source.startswith(KINESIS):
        from claimtrace.adapters.kinesis.streams_admin import KinesisStreams

        KinesisStreams(workspace.settings.kinesis_connection, workspace.clock).check_table()


def _cluster(workspace: Workspace) -> KafkaTopics | KinesisStreams:
    if workspace.settings.source.startswith(KINESIS):
        from claimtrace.adapters.kinesis.streams_admin import KinesisStreams

        return KinesisStreams(workspace.settings.kinesis_connection, workspace.clock)
    from claimtrace.adapters.kafka.topics_admin import KafkaTopics

    return KafkaTopics(workspace.settings.kafka_connection)


def _wanted(workspace: Workspace, partitions: int | None) -> list[WantedTopic]:
    settings, topics = workspace.settings, workspace.domain.topics
    if workspace.settings.source.startswith(KINESIS):
        from claimtrace.adapters.kinesis.required_streams import wanted_streams

        return wanted_streams(topics, settings.kinesis, partitions or settings.partitions)
    from claimtrace.adapters.required_topics import wanted_topics

    return wanted_topics(topics, settings.kafka, partitions or settings.partitions)


def _matching(
    workspace: Workspace,
    wanted: list[WantedTopic],
    found: Mapping[str, FoundTopic],
    partitions: int | None,
) -> list[WantedTopic]:
    """Return the wanted topics with as many partitions as the existing inputs: a decision goes to
    the partition number of its claim."""
    inputs = [topic.name for topic in wanted if topic.role == "input"]
    widest = max((found[name].partitions for name in inputs if name in found), default=0)
    if partitions is not None and partitions < widest:
        raise UsageError(f"an input has {widest} partitions already", where="--partitions",
                         hint="partitions can't be taken away")  # fmt: skip
    return _wanted(workspace, partitions if partitions is not None else widest or None)


def _to_grow(
    wanted: list[WantedTopic], found: Mapping[str, FoundTopic], *, asked: bool
) -> dict[str, int]:
    """Return the topics with too few partitions; inputs only on request, since keys would move."""
    return {
        topic.name: topic.partitions
        for topic in wanted
        if topic.name in found
        and found[topic.name].partitions < topic.partitions
        and (asked or topic.role == "output")
    }


def _as_made(topics: list[WantedTopic]) -> dict[str, FoundTopic]:
    from claimtrace.adapters.required_topics import FoundTopic

    return {
        topic.name: FoundTopic(topic.name, "", topic.partitions, topic.replication, topic.config)
        for topic in topics
    }


def _complaints(
    workspace: Workspace, wanted: list[WantedTopic], found: Mapping[str, FoundTopic]
) -> list[Complaint]:
    every_ms = duration_ms(workspace.settings.stream.snapshot_every)
    if workspace.settings.source.startswith(KINESIS):
        from claimtrace.adapters.kinesis.required_streams import stream_complaints

        return stream_complaints(wanted, found, every_ms)
    from claimtrace.adapters.required_topics import complaints

    return complaints(wanted, found, every_ms)


def _show(
    wanted: list[WantedTopic], found: Mapping[str, FoundTopic], state: Mapping[str, str]
) -> None:
    from claimtrace.adapters.required_topics import FOREVER_MS

    rows = []
    for topic in wanted:
        there = found.get(topic.name)
        if there is None:
            rows.append([topic.name, state[topic.name], "", "", ""])
            continue
        kept_ms = there.retention_ms
        kept = "forever" if kept_ms == FOREVER_MS else f"{kept_ms / DAY_MS:g} d"
        counts = [kept, str(there.partitions), str(there.replication)]
        rows.append([safe(topic.name), state[topic.name], *counts])
    table("", ["topic", "", "kept", "partitions", "copies"], rows, numbers=3)


def _show_complaints(found_wrong: list[Complaint]) -> None:
    for each in found_wrong:
        out.print(f"[yellow]{safe(each.topic)}[/]: {safe(each.what)}")
        out.print(f"  [dim]fix[/] {safe(each.hint)}")
