"""A tiny history and registry for runs of the pipeline, and a store of runs in memory."""

from __future__ import annotations

from pathlib import Path

from claimtrace.settings.schema import DecisionSettings, Settings, TrainingSettings
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import History, write_history
from training.orchestration.graph import needs_of
from training.orchestration.record import RunRecord, decode_record, encode_record, new_steps
from training.orchestration.runner import Runner
from training.pipeline import STEPS, begin

NAMES = [name for name, _ in STEPS]
SETTINGS = Settings(
    decision=DecisionSettings(capacity_per_day=2.0),
    training=TrainingSettings(params={"rounds": 6, "max_depth": 2}, min_frauds=5),
)


def tiny_history(folder: Path) -> History:
    """1,200 claims: a run takes a second."""
    return write_history(folder, claims=1200, days=200)


class Memory:
    """A store of records and results in memory."""

    def __init__(self) -> None:
        self.results: dict[str, bytes] = {}
        self.record = b""
        self.saved = 0

    def result(self, key: str) -> bytes | None:
        return self.results.get(key)

    def keep_result(self, key: str, content: bytes) -> None:
        self.results[key] = content

    def save(self, record: RunRecord) -> None:
        self.saved += 1
        self.record = encode_record(record)


def new_record(name: str, at_ms: int, **more: object) -> RunRecord:
    """A record of a run that hasn't begun."""
    fields = {
        "run": name, "domain": SETTINGS.domain, "at_ms": at_ms, "now_ms": at_ms, "actor": "test",
        "settings": {}, "code": "code", "started_ms": at_ms, "starts": 1,
        "steps": new_steps(NAMES, needs_of(NAMES)),
    }  # fmt: skip
    return RunRecord(**{**fields, **more})


def runner_of(
    history: History,
    registry: FolderRegistry,
    store: Memory,
    record: RunRecord,
    settings: Settings = SETTINGS,
    **more: object,
) -> Runner:
    """One start of a run of the tiny history."""
    run = begin(
        history.store, registry, settings, at_ms=record.at_ms, actor=record.actor,
        run_id=record.run,
    )  # fmt: skip
    return Runner(run, record, store, lambda: record.at_ms, **more)


def read_again(store: Memory) -> RunRecord:
    """The record as a new process reads it."""
    return decode_record(store.record, "memory")
