"""Roll-outs of the registry on a local folder: immutable files beside the versions.

    FOLDER/NAME/rollouts/000001.json

As with versions, the file is written before the line of the log that starts the roll-out; the
number of a file that no line names is never used again.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from types import EllipsisType

from claimtrace.adapters.files.atomic_files import make_folder, read_file, sync_folder, write_file
from claimtrace.decisions import RolloutRef
from claimtrace.errors import ClaimtraceError, ModelError, StateError

from ...rollout.manifest import MAX_BYTES, Rollout, RolloutDraft, read_rollout, write_rollout
from ..approvals_log import CHAMPION, ROLLOUT, ApprovalsLog
from ..registry import ModelRegistry


class FolderRollouts(ModelRegistry):
    """The part of a registry on a folder that keeps roll-outs; `FolderRegistry` is the whole."""

    name: str
    folder: Path

    @abstractmethod
    def approvals(self) -> ApprovalsLog:
        """Return the log, checked."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[tuple[ApprovalsLog, int]]:
        """Hold the lock of the log."""

    @abstractmethod
    def _write(self, handle: int, line: bytes, approvals: ApprovalsLog) -> None:
        """Append a line to the log."""

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
        with self._writing() as (approvals, handle):
            self._check_in_force(approvals, expected)
            champion = approvals.alias(CHAMPION)
            if champion is None or champion.version != draft.champion.version:
                raise StateError(
                    f"version {draft.champion.version} isn't champion", where=str(self.folder),
                    hint="the champion changed meanwhile; look at `claimtrace models` and decide "
                    "again",
                )  # fmt: skip
            number = 1 + max([0, *self._rollout_numbers()])
            content, ref = write_rollout(draft, self.name, number)
            for model in read_rollout(content, ref).models:
                self.load(model)
            _, line = approvals.line(
                "rollout_started", at_ms=at_ms, actor=actor, reason=reason, version=number,
                digest=ref.digest, alias=ROLLOUT, from_version=_number_in_force(approvals),
            )  # fmt: skip
            path = self._rollout_path(number)
            make_folder(path.parent)
            write_file(path, content, 0o444)
            sync_folder(path.parent)
            self._write(handle, line, approvals)
        return ref

    def end_rollout(self, *, actor: str, reason: str, at_ms: int, expected: int) -> None:
        with self._writing() as (approvals, handle):
            self._check_in_force(approvals, expected)
            entry = approvals.rollout_in_force()
            assert entry is not None, "it is the expected one"
            _, line = approvals.line(
                "rollout_ended", at_ms=at_ms, actor=actor, reason=reason, version=entry.version,
                digest=entry.digest, alias=ROLLOUT, from_version=entry.version,
            )  # fmt: skip
            self._write(handle, line, approvals)

    def rollout(self, which: RolloutRef | int) -> Rollout:
        number = which if isinstance(which, int) else which.version
        entry = self.approvals().rollout(number)
        if entry is None or entry.digest is None:
            numbers = self._rollout_numbers()
            raise ModelError(f"there is no roll-out {number}", where=str(self.folder),
                             hint=f"the last one is {numbers[-1]}" if numbers else
                             "`claimtrace rollout start` makes one")  # fmt: skip
        ref = RolloutRef(self.name, number, entry.digest)
        if isinstance(which, RolloutRef) and which != ref:
            raise ModelError(f"roll-out {number} is {ref.name} {ref.digest[:12]}.., not "
                             f"{which.name} {which.digest[:12]}..", where=str(self.folder),
                             hint="the reference belongs to another registry")  # fmt: skip
        path = self._rollout_path(number)
        try:
            content = read_file(path, MAX_BYTES)
        except (OSError, StateError) as error:
            raise ModelError(f"roll-out {number} can't be read: {error}", where=str(path),
                             hint="restore the file from a copy") from error  # fmt: skip
        return read_rollout(content, ref, str(path))

    def rollout_in_force(self) -> RolloutRef | None:
        entry = self.approvals().rollout_in_force()
        if entry is None or entry.version is None or entry.digest is None:
            return None
        return RolloutRef(self.name, entry.version, entry.digest)

    def damaged_rollouts(self, approvals: ApprovalsLog) -> list[str]:
        """Verify every roll-out's bytes; returns the problems found, in words."""
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
            raise StateError(f"{now} is in force", where=str(self.folder),
                             hint="it changed meanwhile; look at `claimtrace rollout status` and "
                             "decide again")  # fmt: skip

    def _rollout_path(self, number: int) -> Path:
        return self.folder / "rollouts" / f"{number:06d}.json"

    def _rollout_numbers(self) -> list[int]:
        paths = (self.folder / "rollouts").glob("*.json")
        return sorted(int(path.stem) for path in paths if path.stem.isdecimal())


def _number_in_force(approvals: ApprovalsLog) -> int | None:
    entry = approvals.rollout_in_force()
    return entry.version if entry is not None else None
