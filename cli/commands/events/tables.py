"""Tables to be replayed: opened under the domain of the settings, and reported on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from claimtrace.errors import UsageError
from claimtrace.verdicts import RETRACTION

from ...console import out, safe
from ...wiring.workspace import Workspace
from .target import is_shared

if TYPE_CHECKING:
    from producers.adapters.files import TableReplay
    from producers.replay.mapping_check import KnownEvents
    from producers.replay.report import ReplayReport


def known_events(workspace: Workspace) -> KnownEvents:
    """Return what the domain says about its events, for the check of a mapping."""
    from producers.replay.mapping_check import KnownEvents

    domain = workspace.domain
    labels = domain.labels
    if labels is None:
        return KnownEvents(domain.events, domain.currency)
    outcomes = (*labels.fraud, *labels.legit, RETRACTION)
    return KnownEvents(domain.events, domain.currency, outcomes, labels.outcome, labels.event.topic)


def open_table(workspace: Workspace, file: Path, mapping: Path | None) -> TableReplay:
    """Read a mapping, check it against the domain, and return the replay of the file.

    Raises:
        UsageError: the mapping can't be read, or doesn't fit the domain; nothing was written.
    """
    from producers.adapters.files import TableReplay, read_mapping
    from producers.replay.replay import BY_KEY

    if mapping is None:
        raise UsageError(
            "a file needs a mapping",
            where="--mapping",
            hint="replay_claims.toml is one to copy; claimtrace doctor says where it lies",
        )
    partitions = BY_KEY if is_shared(workspace) else workspace.settings.partitions
    read = read_mapping(mapping)
    return TableReplay(
        [(file, read)], known_events(workspace), partitions, workspace.clock, str(mapping)
    )


def show_report(report: ReplayReport) -> None:
    """Print what was read, what became of it, and what should be looked at."""
    for line in report.lines():
        out.print(f"[dim]{safe(line)}[/]" if line.startswith(" ") else safe(line))
