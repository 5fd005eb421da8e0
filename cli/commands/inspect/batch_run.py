"""A run over a file of claims: the answers, chunk by chunk, from wherever the run before ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from claimtrace.events import Record
from serving.batches.answer import Answer, bad_row, id_in, of_looks
from serving.batches.awaited import Awaited, with_decision
from serving.batches.batch import Asked, Batch, Way, answer_all, with_faults
from serving.batches.rows import Row

from ...console import notify, progress
from ...wiring.workspace import Workspace
from .batch_log import LogReader, put_on_log
from .looking import Look, look_again, open_look

if TYPE_CHECKING:
    from serving.adapters.claim_files.parts import Parts
    from serving.adapters.claim_files.reading import ClaimFile
    from stream.engine.looked import Charge


class BatchRun:
    """One run over a file.

    Args:
        workspace: state, log and models.
        source: the file.
        parts: the answers so far.
        asked: state, log time and model, as they were asked for.
        way: whether the claims are looked at, or put on the log.
        quiet: draw no progress bar.

    Raises:
        UsageError: another batch has the output.
    """

    def __init__(
        self, workspace: Workspace, source: ClaimFile, parts: Parts, asked: Asked, way: Way,
        *, quiet: bool,
    ) -> None:  # fmt: skip
        self._workspace, self._source, self._parts = workspace, source, parts
        self._quiet = quiet
        self._id_field = workspace.domain.claim.id_field
        self._look: Look | None = None
        self._batch = self._begun(asked, way)
        self._awaited = Awaited(self._batch.name)
        self._decisions = parts.decisions()
        self.counts: Counter[str] = Counter()
        """How many lines have which answer, once the answers have been iterated."""

    def answer(self, wait_s: float | None) -> None:
        """Answer all lines, and look up the decisions that are on the log.

        Args:
            wait_s: how long to wait for a decision, in s; None: until it is there.

        Raises:
            StoreUnavailable: no decision came for that long.
        """
        rows, is_look = self._source.rows(), self._batch.way == "look"
        with progress("score", self._source.lines(), quiet=self._quiet) as advance:
            if is_look:
                answer_all(rows, self._parts, self._looked, advance)
            else:
                put_on_log(self._workspace, rows, self._parts, self._awaited, self._gate, advance)
        for line, answer in enumerate(self._parts.answers(), 1):
            if answer.claim_id:
                self._awaited.add(line, answer.claim_id)
        if not len(self._awaited):
            return
        reader = LogReader(self._workspace, self._awaited, self._decisions, self._batch.dead_ends)
        reader.read_once()  # those decided before
        if not is_look and len(self._awaited):
            with progress("decisions", len(self._awaited), quiet=self._quiet) as advance:
                reader.wait(wait_s, advance)

    def answers(self) -> Iterator[Answer]:
        """Yield the answer to each line, with the decisions of the log, and count them."""
        for line, answer in enumerate(self._parts.answers(), 1):
            whole = self._awaited.dead.get(line, answer)
            if whole.claim_id:
                whole = with_decision(whole, self._decisions.get(whole.claim_id))
            self.counts[whole.status] += 1
            yield whole

    def close(self) -> None:
        """Close the file of decisions."""
        self._decisions.close()

    def _begun(self, asked: Asked, way: Way) -> Batch:
        """Return the batch that is unfinished, or begin one."""
        before, digest = self._parts.job(Batch), self._source.digest()
        if before is not None:
            before.check_same(digest, way, asked, str(self._parts.folder))
            notify("going on with the unfinished batch beside the output")
            return before
        self._look = look = open_look(self._workspace, asked, quiet=self._quiet)
        batch = Batch(
            input_digest=digest, way=way, asked=asked, as_of=look.as_of,
            log_time_ms=look.log_time_ms, model=look.charge.model, rollout=look.charge.rollout,
            dead_ends=LogReader.dead_ends(self._workspace) if way == "claims" else [],
        )  # fmt: skip
        self._parts.begin(batch)
        return batch

    def _looked(self, _: int, chunk: Sequence[Row]) -> list[Answer]:
        """Look at the claims of a chunk, with the one state of the batch."""
        if self._look is None:
            batch = self._batch
            self._look = look_again(self._workspace, batch.as_of, batch.log_time_ms,
                                    (batch.model, batch.rollout), quiet=self._quiet)  # fmt: skip
        look = self._look
        return with_faults(chunk, lambda rows: self._looks_at(look, rows, look.charge), bad_row)

    def _gate(self, chunk: Sequence[Row]) -> list[Answer]:
        """Say which claims are refused, or known, by the state as of the beginning of this run."""
        from stream.engine.looked import Charge

        if self._look is None:
            self._look = open_look(self._workspace, Asked(), quiet=self._quiet)
        now = self._look._replace(log_time_ms=self._workspace.clock.now_ms())
        return with_faults(chunk, lambda rows: self._looks_at(now, rows, Charge(None)), bad_row)

    def _looks_at(self, look: Look, rows: Sequence[Row], charge: Charge) -> list[Answer]:
        topic, at_ms = self._workspace.domain.claim.topic, look.log_time_ms
        records = [Record(topic, 0, i, None, row.value, at_ms) for i, row in enumerate(rows)]
        schemas = self._workspace.schemas
        unknown = schemas.unknown_in(records) if schemas is not None else ()
        looked = look.engine.look(records, charge=charge, unknown_schemas=unknown)
        ids = [
            id_in(row.value, self._id_field) if each.is_known else ""
            for row, each in zip(rows, looked, strict=True)
        ]
        return of_looks(looked, ids, look.as_of)
