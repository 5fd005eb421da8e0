"""The record of one run of the pipeline: what was asked for, and how each step went.

    {"run": "20260301-020000-3f2a1c", "state": "done", "at_ms": ..., "steps": [...]}

A record is written anew, whole, whenever a step begins or ends; a run that was killed goes on from
it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from claimtrace.decisions import ModelRef
from claimtrace.errors import StateError, UsageError
from claimtrace.ids import digest_of

from .triggers import Trigger

MAX_RECORD_BYTES: Final = 4 * 2**20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,119}")

StepState = Literal["waiting", "running", "done", "skipped", "failed"]
RunState = Literal["running", "done", "failed"]


class StepRecord(msgspec.Struct, kw_only=True):
    """The record of one step.

    Attributes:
        name: its name in the table of the steps.
        needs: the steps whose results it reads.
        state: `running` also after a kill, until the run goes on.
        started_ms, ended_ms: by the clock of the machine that ran it; 0 until then.
        cached: whether its results are those of an earlier run, with the same code, parameters and
            inputs.
        key: digest of code, parameters and inputs; empty where a result can't be kept.
        inputs, outputs: digests of what it read and set, by attribute.
        words: why it was skipped or failed, and how to mend that.
    """

    name: str
    needs: list[str] = []
    state: StepState = "waiting"
    started_ms: int = 0
    ended_ms: int = 0
    cached: bool = False
    key: str = ""
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    words: str = ""


class RunRecord(msgspec.Struct, kw_only=True):
    """One run of the pipeline.

    Attributes:
        run: its id, which is the name of its folder.
        state: `running` also after a kill, until the run goes on.
        domain: the module of the domain.
        at_ms: only what was known by then is used.
        now_ms: the time of the run in the registry; fixed when it began, so that a run that goes
            on gives the same bytes.
        actor: the actor in the approvals log.
        settings: the sections that a run depends on, as they were when it began.
        code: digest of the code that ran last.
        definitions: digest of the definitions that the model was trained under.
        triggers: what the run was begun for; empty: by a person.
        started_ms, ended_ms: of the whole run.
        starts: how often it was started or went on.
        steps: in their order.
        published: the version, once there is one.
        promoted: whether the gate accepted it.
    """

    schema_version: int = 1
    run: str
    state: RunState = "running"
    domain: str
    at_ms: int
    now_ms: int
    actor: str
    settings: dict[str, Any]
    code: str = ""
    definitions: str = ""
    triggers: list[Trigger] = []
    started_ms: int
    ended_ms: int = 0
    starts: int = 0
    steps: list[StepRecord]
    published: ModelRef | None = None
    promoted: bool | None = None

    def step(self, name: str) -> StepRecord:
        """Return the record of a step; a step that came with newer code is added at the end."""
        for each in self.steps:
            if each.name == name:
                return each
        self.steps.append(StepRecord(name=name))
        return self.steps[-1]

    @property
    def failed(self) -> StepRecord | None:
        """The step that failed, if one did."""
        return next((each for each in self.steps if each.state == "failed"), None)


def check_run_name(name: str) -> str:
    """Return a run's name if it can be that of a folder; ids of Airflow and Step Functions can.

    Raises:
        UsageError: it can't.

    >>> check_run_name("scheduled__2026-03-01T00:00:00+00:00")
    'scheduled__2026-03-01T00:00:00+00:00'
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name of a run", where="--run",
                         hint="use up to 120 letters, digits and . _ : + -")  # fmt: skip
    return name


def run_name(now_ms: int, asked: Mapping[str, Any]) -> str:
    """Return the id of a run that begins now: its time, and a digest of what is asked for.

    >>> run_name(0, {"domain": "claims"})
    '19700101-000000-c75cc2'
    """
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{digest_of([now_ms, asked])[:6]}"


def new_steps(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[StepRecord]:
    """Return the records of steps that haven't begun."""
    return [StepRecord(name=name, needs=list(needs[name])) for name in names]


def encode_record(record: RunRecord) -> bytes:
    """Return the bytes of a record's file, for people to read too."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def decode_record(content: bytes, where: str) -> RunRecord:
    """Read a record's file.

    Raises:
        StateError: the bytes are no record.
    """
    try:
        record = msgspec.json.decode(content, type=RunRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(
            f"the record of a run is damaged: {error}",
            where=where,
            hint="remove the run's folder, and run the pipeline again",
        ) from error
    if record.schema_version > 1:
        raise StateError("the record of a run is of a newer version", where=where,
                         hint="use the version of claimtrace that wrote it")  # fmt: skip
    return record
