"""The samples that `claimtrace doctor` reads of what it calls ok; `--deep` reads all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...wiring.workspace import Workspace

_PLACES: Final = 5
"""Records that are read of each partition, from the first to the last; each has its batch's
checksum verified."""


def sample_log(workspace: Workspace, *, deep: bool = False) -> str:
    """Read some batches of each partition of the embedded log, or all; returns the topics' sizes.

    Raises:
        StateError: a batch is damaged or missing.
    """
    log = workspace.log()
    try:
        ends = {topic: log.ends(topic) for topic in sorted(log.topics())}
        for topic, positions in ends.items():
            for partition, end in enumerate(positions):
                step = 1000 if deep else max(1, (end - 1) // (_PLACES - 1))
                for at in {*range(0, end, step), max(0, end - 1)} if end else ():
                    log.read(topic, partition, at, min(step, end - at) if deep else 1)
    finally:
        log.close()
    return ", ".join(f"{topic} {sum(positions):,}" for topic, positions in ends.items())
