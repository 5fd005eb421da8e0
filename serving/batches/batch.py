"""What a batch answers: the file, the state that is looked at, and who is in charge of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import UsageError
from claimtrace.looks import AsOf

from .answer import Answer
from .rows import Row, chunks

Way = Literal["look", "claims"]


class Asked(msgspec.Struct, frozen=True):
    """The state, the log time and the model version that are asked for; None: as of now."""

    at_plan: int | None = None
    log_time_ms: int | None = None
    model: int | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it is kept beside its answers, so that whoever goes on gives the same ones.

    Args:
        input_digest: SHA-256 of the file.
        way: `look`: all lines are looked at with one state; `claims`: they are put on the log.
        asked: what was asked for.
        as_of: the state that is looked at.
        log_time_ms: the log time of all claims that are looked at.
        model, rollout: who is in charge.
        dead_ends: of claims: the end of each partition of dead letters when the batch began.
    """

    input_digest: str
    way: Way
    asked: Asked
    as_of: AsOf
    log_time_ms: int
    model: ModelRef | None
    rollout: RolloutRef | None
    dead_ends: list[int] = []

    @property
    def name(self) -> str:
        """The name of this batch in the headers of its claims."""
        return f"{self.input_digest[:16]}.{self.log_time_ms}"

    def check_same(self, input_digest: str, way: Way, asked: Asked, where: str) -> None:
        """Check that this unfinished batch is the one that is asked for.

        Args:
            input_digest, way, asked: what is asked for now.
            where: the folder of this batch's answers.

        Raises:
            UsageError: it is another one.
        """
        differs = {
            "the file of claims": self.input_digest != input_digest,
            "--as": self.way != way,
            "--at-plan, --log-time-ms or --model": self.asked != asked,
        }
        for what, is_other in differs.items():
            if is_other:
                raise UsageError(
                    f"an unfinished batch has this output, with another {what}", where=where,
                    hint="repeat its command to go on, name another output, or remove the folder "
                    "to begin again",
                )  # fmt: skip


class Kept(Protocol):
    """The answers so far; `add` keeps those to the next chunk durably."""

    def __len__(self) -> int: ...

    def add(self, answers: Sequence[Answer]) -> None:
        """Keep the answers to the next chunk."""


def answer_all(
    rows: Iterator[Row],
    kept: Kept,
    answer: Callable[[int, Sequence[Row]], Sequence[Answer]],
    progress: Callable[[int], None] = lambda _: None,
    skipped: Callable[[Sequence[Row]], None] = lambda _: None,
) -> None:
    """Answer all rows of a file, chunk by chunk, behind those that are answered already.

    Args:
        rows: of the whole file.
        kept: the answers so far.
        answer: called with the number of the first line, from 1 on, and the rows of a chunk.
        progress: called with the number of lines of each chunk.
        skipped: called with each chunk that was answered before.
    """
    line, done = 1, len(kept)
    for number, chunk in enumerate(chunks(rows)):
        if number < done:
            skipped(chunk)
        else:
            answers = answer(line, chunk)
            assert len(answers) == len(chunk), "each line has one answer"
            kept.add(answers)
        line += len(chunk)
        progress(len(chunk))


def with_faults(
    chunk: Sequence[Row],
    answered: Callable[[Sequence[Row]], Iterable[Answer]],
    fault: Callable[[str], Answer],
) -> list[Answer]:
    """Answer the rows of a chunk; those that are none of their table by their fault.

    Args:
        chunk: the rows.
        answered: called with the good rows; gives an answer for each, in order.
        fault: makes the answer to a row that isn't one.
    """
    good = iter(answered([row for row in chunk if not row.fault]))
    return [fault(row.fault) if row.fault else next(good) for row in chunk]
