"""Runs the steps of a pipeline: takes over results that are known, keeps new ones, and records.

A result is known by its key: the digest of the code, of the parameters that the step reads, and of
the content of its inputs. So a run that was killed goes on with the steps that it had not ended,
and a run that differs in a parameter repeats only the steps that depend on it. What a step reads
from the offline store or the registry is known within one run only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from claimtrace.errors import ClaimtraceError, UsageError
from claimtrace.ids import digest_of

from .. import run as run_module
from ..run import Step, TrainingRun
from .codec import NoCodec, measure, types_of
from .declared import DECLARED, OUTSIDE, Uses
from .graph import ancestors_of
from .kept import decode_result, encode_result, grown_before, take_over
from .record import RunRecord, StepRecord

Steps = Sequence[tuple[str, Step]]
Observe = Callable[[str, str], None]
"""Called as `observe(point, step)`, with the points of `POINTS`."""

POINTS: Final = ("begun", "computed", "kept", "recorded")
"""Moments of a step: its begin is recorded, it has run, its result is kept, its end is recorded."""

Condition = Callable[[TrainingRun], str]
"""Returns the reason for which a step is skipped in a run; empty: it isn't."""

DONE: Final = ("done", "skipped")


class Store(Protocol):
    """The place where results are kept by key, and the records of runs."""

    def result(self, key: str) -> bytes | None:
        """Return the result that is kept under a key; None if there is none."""

    def keep_result(self, key: str, content: bytes) -> None:
        """Keep a result, whole or not at all."""

    def save(self, record: RunRecord) -> None:
        """Replace the record of a run, whole or not at all."""


def unobserved(point: str, step: str) -> None:
    """Take no notice of a step's points: the observer of runs that nobody watches."""


@dataclass
class Runner:
    """One start of a run: runs its steps and keeps what is known about them.

    Attributes:
        run: what the steps read and set.
        record: is brought up to date and saved whenever a step begins or ends.
        store: where results and records are kept.
        now_ms: the clock, for the times of the record.
        conditions: for some steps, when they are skipped.
        declared: what the steps read and set.
        observe: told about the points of each step that is computed; tests end the process there.
    """

    run: TrainingRun
    record: RunRecord
    store: Store
    now_ms: Callable[[], int]
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    declared: Mapping[str, Uses] = field(default_factory=lambda: DECLARED)
    observe: Observe = unobserved

    def __post_init__(self) -> None:
        self._types: dict[str, Any] = types_of(type(self.run), vars(run_module))
        self._digests: dict[str, str] = {}

    def run_all(self, steps: Steps) -> None:
        """Run all steps, or take over their results.

        Raises:
            ClaimtraceError: from a step; the record says which one failed, and why.
        """
        for name, step in steps:
            self._run_step(name, step)
        self._close()

    def run_one(self, only: str, steps: Steps) -> None:
        """Run one step of a run whose earlier steps are done.

        Raises:
            UsageError: there is no such step, or a step that it needs isn't done.
            ClaimtraceError: from the step.
        """
        names = [name for name, _ in steps]
        if only not in names:
            raise UsageError(f"there is no step {only}", where="--only",
                             hint="one of " + ", ".join(names))  # fmt: skip
        before = ancestors_of(only, {each.name: each.needs for each in self.record.steps})
        at = names.index(only)
        for name in names[:at]:
            if name in before and self.record.step(name).state not in DONE:
                raise UsageError(f"{only} needs {name}, which isn't done in this run",
                                 where=f"run {self.record.run}",
                                 hint=f"run it first: --only {name}")  # fmt: skip
        for name, step in steps[:at]:
            if self.record.step(name).state == "done":
                self._run_step(name, step)
        self._run_step(only, steps[at][1])
        if all(row.state in DONE for row in self.record.steps):
            self._close()

    def _close(self) -> None:
        self.record.state = "done"
        self.record.ended_ms = self.now_ms()
        self.store.save(self.record)

    def _run_step(self, name: str, step: Step) -> None:
        row, uses = self.record.step(name), self.declared.get(name)
        if words := self._why_skipped(name, row):
            row.state, row.words = "skipped", words
            self.store.save(self.record)
        elif uses is None:
            self._begin(row, "", {})
            self._call(name, step, row)
            self._digests.clear()
            self._end(row, {})
        else:
            inputs = self._inputs(uses)
            key = self._key(name, uses, inputs)
            if not self._took_over(row, uses, key, inputs):
                self._compute(name, step, row, uses, key, inputs)
        self.run.progress(name, 1, 1)

    def _why_skipped(self, name: str, row: StepRecord) -> str:
        missing = [each for each in row.needs if self.record.step(each).state == "skipped"]
        if missing:
            return f"needs {missing[0]}, which was skipped"
        condition = self.conditions.get(name)
        return condition(self.run) if condition is not None else ""

    def _compute(
        self, name: str, step: Step, row: StepRecord, uses: Uses, key: str, inputs: dict[str, str]
    ) -> None:
        earlier = dict(row.outputs)
        self._begin(row, key, inputs)
        before = grown_before(self.run, uses)
        self._call(name, step, row)
        for each in uses.sets:
            self._digests.pop(each, None)
        outputs = {each: self._digest(each) for each in uses.sets}
        content = encode_result(self.run, uses, before, outputs, self._types) if key else None
        if content is not None:
            self.store.keep_result(key, content)
        self.observe("kept", name)
        if earlier and earlier != outputs:
            row.words = "what it reads has changed since the run began, and so has its result"
        self._end(row, outputs)

    def _call(self, name: str, step: Step, row: StepRecord) -> None:
        self.run.progress(name, 0, 1)
        try:
            step(self.run)
        except ClaimtraceError as error:
            self._fail(row, str(error))
            raise
        except Exception as error:
            self._fail(row, f"{type(error).__name__}: {error}")
            raise
        self.observe("computed", name)

    def _begin(self, row: StepRecord, key: str, inputs: dict[str, str]) -> None:
        row.state, row.words, row.cached, row.key = "running", "", False, key
        row.inputs, row.outputs = inputs, {}
        row.started_ms, row.ended_ms = self.now_ms(), 0
        self.store.save(self.record)
        self.observe("begun", row.name)

    def _end(self, row: StepRecord, outputs: dict[str, str]) -> None:
        row.state, row.outputs, row.ended_ms = "done", outputs, self.now_ms()
        self.store.save(self.record)
        self.observe("recorded", row.name)

    def _fail(self, row: StepRecord, words: str) -> None:
        row.state, row.words, row.ended_ms = "failed", words, self.now_ms()
        self.record.state, self.record.ended_ms = "failed", row.ended_ms
        self.store.save(self.record)

    def _took_over(self, row: StepRecord, uses: Uses, key: str, inputs: dict[str, str]) -> bool:
        """Take over the result of a key, if it is kept; the row then says whose it was."""
        kept = decode_result(self.store.result(key)) if key else None
        if kept is None or not take_over(self.run, kept, uses, self._types):
            return False
        for each in uses.sets:
            self._digests.pop(each, None)
        self._digests |= {each: kept.outputs[each] for each in kept.values if each in kept.outputs}
        if row.state != "done" or row.key != key:
            row.cached = kept.run != self.record.run
            row.started_ms = row.started_ms or self.now_ms()
            row.key, row.inputs, row.words = key, inputs, ""
            self._end(row, dict(kept.outputs))
        return True

    def _inputs(self, uses: Uses) -> dict[str, str]:
        return {read: self._digest(read) for read in uses.reads if read not in OUTSIDE}

    def _key(self, name: str, uses: Uses, inputs: Mapping[str, str]) -> str:
        """Return the key of a step; empty if an input has no digest."""
        if not all(inputs.values()):
            return ""
        run = self.record.run if uses.reads_outside else ""
        return digest_of(["step", 1, name, self.record.code, run, inputs])

    def _digest(self, path: str) -> str:
        """Return the digest of an attribute, or of a setting; empty where there is none."""
        if path not in self._digests:
            value: Any = self.run
            for part in path.split("."):
                value = getattr(value, part) if value is not None else None
            try:
                self._digests[path] = measure(value).digest
            except NoCodec:
                self._digests[path] = ""
        return self._digests[path]
