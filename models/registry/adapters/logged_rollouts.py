"""Roll-outs of a registry: immutable files beside the versions, and lines of the approvals log.

As with versions, the file is written before the line of the log that starts the roll-out; the
number of a file that no line names is never used again.
"""

from __future__ import annotations

from abc import abstractmethod
from types import EllipsisType

from claimtrace.decisions import RolloutRef
from claimtrace.errors import ClaimtraceError, ModelError, StateError

from ...rollout.manifest import Rollout, RolloutDraft, read_rollout, write_rollout
from ..approvals_log import CHAMPION, ROLLOUT, ApprovalsLog
from .logged import LoggedRegistry


class LoggedRollouts(LoggedRegistry):
    """The part of a registry that keeps roll-outs."""

    # What an adapter stores and reads.

    @abstractmethod
    def _put_rollout(self, number: int, content: bytes) -> None:
        """Store the file of a roll-out for good, under a number that was never used."""

    @abstractmethod
    def _rollout_file(self, number: int) -> bytes:
        """Return the file of a roll-out.

        Raises:
            ModelError: it can't be read.
        """

    @abstractmethod
    def _rollout_numbers(self) -> list[int]:
        """Return the numbers of all roll-outs that are stored, started or not."""

    # The contract.

    def start_rollout(
        self,
        draft: RolloutDraft,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        expected: int | EllipsisType | None = ...,
    ) -> RolloutRef:
        write_rollout(draft, self.name, 1)  # before the log is touched: it may contradict itself
        started: list[RolloutRef] = []

        def line_of(approvals: ApprovalsLog) -> bytes:
            self._check_in_force(approvals, expected)
            champion = approvals.alias(CHAMPION)
            if champion is None or champion.version != draft.champion.version:
                raise StateError(
                    f"version {draft.champion.version} isn't champion", where=self.place,
                    hint="the champion changed meanwhile; look at `claimtrace models` and decide "
                    "again",
                )  # fmt: skip
            number = 1 + max([0, *self._rollout_numbers()])
            content, ref = write_rollout(draft, self.name, number)
            for model in read_rollout(content, ref).models:
                self.load(model)
            line = self._line(
                approvals, "rollout_started", at_ms=at_ms, actor=actor, reason=reason,
                version=number, digest=ref.digest, alias=ROLLOUT,
                from_version=_number_in_force(approvals),
            )  # fmt: skip
            self._put_rollout(number, content)
            started.append(ref)
            return line

        self._append(line_of)
        return started[-1]

    def end_rollout(self, *, actor: str, reason: str, at_ms: int, expected: int) -> None:
        def line_of(approvals: ApprovalsLog) -> bytes:
            self._check_in_force(approvals, expected)
            entry = approvals.rollout_in_force()
            assert entry is not None, "it is the expected one"
            return self._line(
                approvals, "rollout_ended", at_ms=at_ms, actor=actor, reason=reason,
                version=entry.version, digest=entry.digest, alias=ROLLOUT,
                from_version=entry.version,
            )  # fmt: skip

        self._append(line_of)

    def rollout(self, which: RolloutRef | int) -> Rollout:
        number = which if isinstance(which, int) else which.version
        entry = self.approvals().rollout(number)
        if entry is None or entry.digest is None:
            numbers = self._rollout_numbers()
            raise ModelError(f"there is no roll-out {number}", where=self.place,
                             hint=f"the last one is {numbers[-1]}" if numbers else
                             "`claimtrace rollout start` makes one")  # fmt: skip
        ref = RolloutRef(self.name, number, entry.digest)
        if isinstance(which, RolloutRef) and which != ref:
            raise ModelError(f"roll-out {number} is {ref.name} {ref.digest[:12]}.., not "
                             f"{which.name} {which.digest[:12]}..", where=self.place,
                             hint="the reference belongs to another registry")  # fmt: skip
        return read_rollout(self._rollout_file(number), ref, f"{self.place}, roll-out {number}")

    def rollout_in_force(self) -> RolloutRef | None:
        entry = self.approvals().rollout_in_force()
        if entry is None or entry.version is None or entry.digest is None:
            return None
        return RolloutRef(self.name, entry.version, entry.digest)

    def _damaged_beside(self, approvals: ApprovalsLog) -> list[str]:
        problems: list[str] = []
        for entry in approvals.entries:
            if entry.act == "rollout_started" and entry.version is not None:
                try:
                    self.rollout(entry.version)
                except ClaimtraceError as error:
                    problems.append(str(error))
        return problems

    def _check_in_force(self, approvals: ApprovalsLog, expected: int | EllipsisType | None) -> None:
        current = _number_in_force(approvals)
        if expected is not ... and expected != current:
            now = "no roll-out" if current is None else f"roll-out {current}"
            raise StateError(f"{now} is in force", where=self.place,
                             hint="it changed meanwhile; look at `claimtrace rollout status` and "
                             "decide again")  # fmt: skip


def _number_in_force(approvals: ApprovalsLog) -> int | None:
    entry = approvals.rollout_in_force()
    return entry.version if entry is not None else None
