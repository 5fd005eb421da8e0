"""The simulation of a folder: what was asked for and how far it came, so that it can go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.adapters.files.atomic_files import write_file
from claimtrace.errors import StateError

from ..sending.sink import Progress, no_progress
from ..simulation.config import SimulationConfig
from ..simulation.simulator import Simulation
from .embedded import write_chunks

NAME: Final = "simulation.json"


class Recorded(msgspec.Struct, frozen=True):
    """A simulation that was begun on a log.

    Args:
        config: the world.
        from_day: the day on which this run begins.
        until_day: the day before which the events of this run arrive.
        asked: the options of the command, to tell whether it is the same command again.
        before: the records that the log had on the simulation's topics when this run began.
        finished: whether all events of this run are on the log.
    """

    config: SimulationConfig
    from_day: int
    until_day: int
    asked: dict[str, Any]
    before: int
    finished: bool = False


def read_recorded(folder: Path) -> Recorded | None:
    """Return the simulation that was begun in a folder; None where there was none.

    Raises:
        StateError: the file is damaged.
    """
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recorded)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StateError(f"the record of a simulation is damaged: {error}", where=str(path),
                         hint="simulate into another --folder") from error  # fmt: skip


def records_on(log: EmbeddedLog, topics: Sequence[str]) -> int:
    """Return how many records a log has on some topics."""
    there = log.topics()
    return sum(sum(log.ends(topic)) for topic in topics if topic in there)


def run_simulation(
    folder: Path,
    log: EmbeddedLog,
    recorded: Recorded,
    simulation: Simulation,
    truth_path: Path,
    progress: Progress = no_progress,
) -> int:
    """Put the events of a recorded simulation on the log, as far as they aren't there.

    Args:
        folder: where the record is kept.
        log: has the simulation's topics.
        recorded: the simulation; the same as in the folder, when it was interrupted.
        simulation: of the recorded config; where it stands on an earlier day, the truth of the
            days before the run is written again too.
        truth_path: the file of the ground truth; an old one is replaced.
        progress: called with the number of records of each chunk.

    Returns:
        The number of records written.

    Raises:
        StateError: others have written to the log since the simulation was interrupted.
    """
    _keep(folder, recorded)
    there = records_on(log, simulation.topics) - recorded.before
    if there < 0:
        raise StateError("the log is shorter than it was when the simulation began",
                         where=str(folder), hint="simulate into another --folder")  # fmt: skip
    # the portfolio is opened on the day before day 0, by the first run
    earlier = simulation.chunks(recorded.from_day) if recorded.from_day else ()
    written = write_chunks(
        simulation.chunks(recorded.until_day), log, truth_path, progress,
        earlier=earlier, there=there,
    )  # fmt: skip
    _keep(folder, msgspec.structs.replace(recorded, finished=True))
    return written


def _keep(folder: Path, recorded: Recorded) -> None:
    write_file(folder / NAME, msgspec.json.format(msgspec.json.encode(recorded)) + b"\n")
