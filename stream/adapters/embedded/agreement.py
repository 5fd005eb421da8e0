"""Whether the embedded log and the state beside it belong together; and a new journal if not.

A log that was emptied, cut or restored from an older copy doesn't hold what the journal has
planned; a state that was lost doesn't explain the decisions that the log holds. Going on with
either would decide claims twice, or never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.adapters.files.atomic_files import make_folder, sync_folder
from claimtrace.adapters.files.folder_lock import LOCK_NAME
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    GENESIS,
    chain_of,
)
from claimtrace.errors import StateError

from ...journal.plan import Plan
from ...proofs.seal_line import planned_ends
from ..snapshots.reached_file import ReachedFile
from ..snapshots.snapshots import newest_plan
from .file_journal import read_plans, read_terms
from .log import PRODUCER

_OUTPUTS: Final = (DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC)
_PAGE_RECORDS: Final = 500
_HINT: Final = (
    "restore what was lost from a copy; or begin anew with `claimtrace stream --new-journal`, "
    "which says what will differ"
)


def check_agreement(log: EmbeddedLog, state: Path) -> None:
    """Refuse a log and a state that don't belong together.

    Raises:
        StateError: says what is missing, and what to do.
    """
    for problem in disagreements(log, state):
        raise StateError(problem, where=str(state.parent), hint=_HINT)


def disagreements(log: EmbeddedLog, state: Path) -> Iterator[str]:
    """Yield a sentence for each way in which a log and a state don't belong together.

    Args:
        log: the log.
        state: the folder of journal, snapshots and the note of finished effects.

    Raises:
        StateError: the journal is damaged.
    """
    plans = _plans(state / "journal")
    last = plans[-1].number if plans else 0
    emitted = max(log.producer_sequence(PRODUCER), 0)
    topics = log.topics()
    decisions = sum(log.ends(DECISIONS_TOPIC)) if DECISIONS_TOPIC in topics else 0
    if not plans and (decisions or emitted):
        yield f"the log holds {decisions:,} decisions, but the journal that explains them is gone"
        return
    if emitted > last:
        yield (
            f"the journal ends at plan {last:,}, but the log holds the effects of plan {emitted:,}"
        )
    if emitted < last - 1:  # the last one may be without effects: a crash came between
        yield (
            f"the log was emptied or replaced: it holds the effects of {emitted:,} plans, the "
            f"journal has {last:,}"
        )
    snapshot = newest_plan(state / "snapshots")
    if snapshot > last:
        yield f"the newest snapshot is of plan {snapshot:,}, the journal ends at plan {last:,}"
    for (topic, partition), end in sorted(planned_ends(plans).items()):
        ends = log.ends(topic) if topic in topics else []
        found = ends[partition] if partition < len(ends) else 0
        if found < end:
            yield (
                f"the log is shorter than the journal says: {topic}/{partition} ends at {found:,}, "
                f"the journal has planned up to {end:,}"
            )
    yield from _dropped_decisions(log, state, last)


class SetAside(NamedTuple):
    """The folders and topics that a new journal left behind under new names; nothing is deleted."""

    decisions: int
    topics: Sequence[str]
    folders: Sequence[Path]


def set_aside(log: EmbeddedLog, state: Path, offline: Path) -> SetAside:
    """Rename state, outputs on the log and offline store, so that a new journal can begin.

    The lock of the state folder stays where it is: the caller holds it.

    Args:
        log: the log; its inputs stay.
        state: the folder of journal, snapshots and lock.
        offline: the folder of the offline store.

    Raises:
        OSError: a folder can't be renamed; the rest is as it was.
    """
    outputs = [topic for topic in _OUTPUTS if topic in log.topics()]
    decisions = sum(log.ends(DECISIONS_TOPIC)) if DECISIONS_TOPIC in outputs else 0
    suffix = _free_suffix(log, state, offline)
    folders: list[Path] = []
    if offline.is_dir():
        folders.append(offline.rename(_named(offline, suffix)))
    entries = [each for each in state.iterdir() if each.name != LOCK_NAME]
    if entries:
        aside = _named(state, suffix)
        make_folder(aside)
        for each in entries:
            each.rename(aside / each.name)
        sync_folder(aside)
        folders.append(aside)
    sync_folder(state)
    sync_folder(state.parent)
    # last: until the topics have their new names, a start refuses as before
    log.rename({topic: topic + suffix for topic in outputs}, {PRODUCER: PRODUCER + suffix})
    return SetAside(decisions, [topic + suffix for topic in outputs], folders)


def _plans(path: Path) -> list[Plan]:
    if not path.exists():
        return []
    read_terms(path)  # a journal of another version is refused here
    return list(read_plans(path))


def _dropped_decisions(log: EmbeddedLog, state: Path, last: int) -> Iterator[str]:
    """Yield a sentence for each partition without the decision that was its newest once."""
    reached = ReachedFile(state / "reached").read()
    if reached is None or reached.plan > last:
        return
    partitions = log.topics().get(DECISIONS_TOPIC, 0)
    for partition, chain in sorted(reached.chains.items()):
        if chain == GENESIS:
            continue
        if partition >= partitions or not _has(log, partition, chain):
            yield (
                f"{DECISIONS_TOPIC}/{partition} has lost its newest decisions: the one that was "
                f"the last at plan {reached.plan:,} is gone"
            )


def _has(log: EmbeddedLog, partition: int, chain: str) -> bool:
    """Whether a decision is on the log; it is near the end, so the search goes backwards."""
    at = log.ends(DECISIONS_TOPIC)[partition]
    while at > 0:
        start = max(0, at - _PAGE_RECORDS)
        found = log.read(DECISIONS_TOPIC, partition, start, at - start)
        if any(chain_of(value or b"") == chain for value in found.values):
            return True
        at = start
    return False


def _free_suffix(log: EmbeddedLog, state: Path, offline: Path) -> str:
    """Return `.before-1`, or the first number that nothing has yet."""
    topics, number = log.topics(), 1
    while True:
        suffix = f".before-{number}"
        taken = any(topic + suffix in topics for topic in _OUTPUTS)
        if not taken and not any(_named(each, suffix).exists() for each in (state, offline)):
            return suffix
        number += 1


def _named(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)
