"""Write records to the embedded log, or a whole simulation with its ground truth in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.errors import StateError
from claimtrace.events import Outgoing

from ..sending.chunks import Chunk
from ..sending.sink import Progress, no_progress

TRUTH_SCHEMA: Final = pa.schema(
    [
        ("claim_id", pa.string()),
        ("is_fraud", pa.bool_()),
        ("scenario", pa.string()),
        ("ring", pa.string()),
    ]
)


class EmbeddedSink:
    """A `Sink` on an embedded log that is already open; every `send` is durable when it returns.

    Topics must exist: `log.create_topic`.
    """

    def __init__(self, log: EmbeddedLog, progress: Progress = no_progress) -> None:
        self._log = log
        self._progress = progress

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Append all records in one commit, or none of them."""
        if outgoing:
            self._log.append(outgoing)
            self._progress(len(outgoing))

    def flush(self, deadline_s: float) -> None:
        """Return at once: `send` has made everything durable."""

    def close(self) -> None:
        """Do nothing: the log belongs to the caller and stays open."""


def write_chunks(
    chunks: Iterable[Chunk],
    log: EmbeddedLog,
    truth_path: Path | None = None,
    progress: Progress = no_progress,
    *,
    earlier: Iterable[Chunk] = (),
    there: int = 0,
) -> int:
    """Write a simulation, one commit for each chunk, and the ground truth as a Parquet file.

    Args:
        chunks: of `Simulation.chunks`.
        log: has the simulation's topics.
        truth_path: a new Parquet file of `TRUTH_SCHEMA`; an old one is replaced.
        progress: called with the number of records of each chunk once they are durable.
        earlier: chunks before these, of which the truth alone is written.
        there: the number of records of `chunks` that are on the log already; their truth is
            written again.

    Returns:
        The number of records written.

    Raises:
        StateError: the records on the log don't end with a chunk of the simulation.
    """
    written, left = 0, there
    with ExitStack() as files:
        truth = None
        if truth_path is not None:
            truth_path.parent.mkdir(parents=True, exist_ok=True)
            truth = files.enter_context(pq.ParquetWriter(truth_path, TRUTH_SCHEMA))
        for chunk in earlier:
            _write_truth(truth, chunk)
        for chunk in chunks:
            if left <= 0:
                _append(log, chunk)
                written += chunk.records_count
            elif left < chunk.records_count:
                raise StateError(
                    "others have written to the log since the simulation was interrupted",
                    hint="simulate into another --folder",
                )
            else:
                left -= chunk.records_count
            _write_truth(truth, chunk)
            progress(chunk.records_count)
    return written


def _append(log: EmbeddedLog, chunk: Chunk) -> None:
    with log.transaction():
        for part in chunk.parts:
            log.append_columns(
                part.topic, part.partition, part.keys, part.values, part.log_times_ms
            )


def _write_truth(truth: pq.ParquetWriter | None, chunk: Chunk) -> None:
    if truth is not None and chunk.truth.claim_id:
        columns = [chunk.truth.claim_id, chunk.truth.is_fraud, chunk.truth.scenario]
        truth.write_table(pa.table([*columns, chunk.truth.ring], schema=TRUTH_SCHEMA))
