"""Runs: the same bytes however often they stopped, equal steps not run again, reasons for skips."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from claimtrace.errors import ConfigError, StateError, UsageError
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import History, label
from tests.worlds.pipeline_runs import (
    NAMES,
    SETTINGS,
    Memory,
    new_record,
    read_again,
    runner_of,
    tiny_history,
)
from training.orchestration.codec import MAX_BYTES
from training.orchestration.declared import DECLARED
from training.orchestration.record import RunRecord, decode_record, encode_record
from training.orchestration.runner import POINTS
from training.pipeline import STEPS, report_of, train


class Stopped(BaseException):
    """A kill, within one process."""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return tiny_history(tmp_path_factory.mktemp("history") / "offline")


@pytest.fixture
def store() -> Memory:
    return Memory()


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "models")


def states(record: RunRecord) -> dict[str, str]:
    return {row.name: "cached" if row.cached else row.state for row in record.steps}


def computed(runner) -> list[str]:
    """Let a runner tell which steps it computes."""
    found: list[str] = []
    runner.observe = lambda point, step: found.append(step) if point == "computed" else None
    return found


def test_a_run_and_a_plain_training_give_the_same_bytes(
    history: History, registry: FolderRegistry, store: Memory, tmp_path: Path
) -> None:
    plain = FolderRegistry(tmp_path / "plain")
    report = train(history.store, plain, SETTINGS, at_ms=history.end_ms)
    runner = runner_of(history, registry, store, new_record("one", history.end_ms))
    runner.run_all(STEPS)
    assert report_of(runner.run) == report
    for which in (plain, registry):
        assert which.verify() == []
    assert registry.load(1).manifest == plain.load(1).manifest
    assert registry.load(1).model_json == plain.load(1).model_json
    record = read_again(store)
    assert (record.state, set(states(record).values())) == ("done", {"done"})
    assert all(row.key and row.ended_ms and row.outputs.keys() for row in record.steps)


def test_a_run_that_stops_at_every_point_gives_the_same_bytes(
    history: History, registry: FolderRegistry, store: Memory, tmp_path: Path
) -> None:
    whole = Memory()
    other = FolderRegistry(tmp_path / "whole")
    unstopped = runner_of(history, other, whole, new_record("one", history.end_ms))
    unstopped.run_all(STEPS)
    done: list[str] = []
    record = new_record("one", history.end_ms)
    for name in NAMES:
        for stop in POINTS:

            def observe(point: str, step: str, at: tuple[str, str] = (stop, name)) -> None:
                done.extend([step] if point == "computed" else [])
                if (point, step) == at:
                    raise Stopped

            runner = runner_of(history, registry, store, record, observe=observe)
            try:
                runner.run_all(STEPS)
            except Stopped:
                assert len(registry.versions()) <= 1
                record = read_again(store)
    final = runner_of(history, registry, store, record)
    final.run_all(STEPS)
    assert registry.load(1).model_json == other.load(1).model_json
    assert registry.load(1).ref == other.load(1).ref
    assert [e.act for e in registry.history()] == ["published", "moved"]
    assert report_of(final.run) == report_of(unstopped.run)
    # killed before it was kept, a step runs again; afterwards never
    assert {name: done.count(name) for name in NAMES} == dict.fromkeys(NAMES, 2)
    assert [(r.name, r.outputs) for r in read_again(store).steps] == [
        (r.name, r.outputs) for r in read_again(whole).steps
    ]


def test_equal_steps_are_not_run_again(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    runner_of(history, registry, store, new_record("one", history.end_ms)).run_all(STEPS)
    registry.move_alias("champion", None, actor="test", reason="as before", at_ms=1)
    more = msgspec.structs.replace(
        SETTINGS, decision=msgspec.structs.replace(SETTINGS.decision, capacity_per_day=3.0)
    )
    again = runner_of(history, registry, store, new_record("two", history.end_ms), more)
    ran = computed(again)
    again.run_all(STEPS)
    assert ran == [
        "collect",
        "contract",
        "split",
        "evaluate",
        "leaks",
        "thresholds",
        "bias",
        "gates",
        "reference",
        "explain",
        "report",
        "publish",
    ]
    assert states(read_again(store))["judge"] == "cached"
    seeded = msgspec.structs.replace(
        SETTINGS, training=msgspec.structs.replace(SETTINGS.training, seed=8)
    )
    other = runner_of(history, registry, store, new_record("three", history.end_ms), seeded)
    ran = computed(other)
    other.run_all(STEPS)
    assert ran == NAMES


def test_other_code_runs_everything_again(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    runner_of(history, registry, store, new_record("one", history.end_ms)).run_all(STEPS)
    again = runner_of(
        history, registry, store, new_record("two", history.end_ms, code="newer code")
    )
    ran = computed(again)
    again.run_all(STEPS)
    assert ran == NAMES


def test_a_run_goes_on_with_what_it_read_although_the_store_has_changed(
    tmp_path: Path, registry: FolderRegistry, store: Memory
) -> None:
    history = tiny_history(tmp_path / "offline")
    record = new_record("one", history.end_ms)
    stop = runner_of(history, registry, store, record, observe=stopping("choose"))
    with pytest.raises(Stopped):
        stop.run_all(STEPS)
    from featurestore.offline.tables import rows_of

    late = [label(row, True, history.end_ms - 1) for row in range(0, 1200, 3)]
    history.store.append("labels", rows_of("labels", late), writer="w", version=1)
    final = runner_of(history, registry, store, read_again(store))
    final.run_all(STEPS)
    assert registry.load(1).manifest.lineage["dataset"]["tables"]["labels"] == 1
    assert final.run.dataset.lineage["frauds"] < 200


def test_a_result_that_cannot_be_kept_is_computed_again_and_a_change_is_told(
    tmp_path: Path, registry: FolderRegistry, store: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featurestore.offline.tables import rows_of
    from training.orchestration import codec

    history = tiny_history(tmp_path / "offline")
    monkeypatch.setattr(codec, "MAX_BYTES", 20_000)  # too small for the data set
    stop = runner_of(
        history, registry, store, new_record("one", history.end_ms), observe=stopping("choose")
    )
    with pytest.raises(Stopped):
        stop.run_all(STEPS)
    late = [label(row, True, history.end_ms - 1) for row in range(0, 1200, 3)]
    history.store.append("labels", rows_of("labels", late), writer="w", version=1)
    final = runner_of(history, registry, store, read_again(store))
    ran = computed(final)
    final.run_all(STEPS)
    assert ran[0] == "collect"
    record = read_again(store)
    assert "has changed" in record.step("collect").words
    assert record.state == "done"


def stopping(at: str):
    def observe(point: str, step: str) -> None:
        if (point, step) == ("begun", at):
            raise Stopped

    return observe


def test_a_damaged_result_is_computed_again(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    stop = runner_of(
        history, registry, store, new_record("one", history.end_ms), observe=stopping("evaluate")
    )
    with pytest.raises(Stopped):
        stop.run_all(STEPS)
    record = read_again(store)
    for name, content in (("judge", b"\x80"), ("calibrate", b""), ("split", b"\xc1" * 9)):
        store.results[record.step(name).key] = content
    final = runner_of(history, registry, store, record)
    ran = computed(final)
    final.run_all(STEPS)
    assert ran[:3] == ["split", "judge", "calibrate"]
    assert registry.verify() == []


def test_a_condition_skips_a_step_and_says_why(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    record = new_record("one", history.end_ms)
    conditions = {"release": lambda run: f"{len(run.subsets)} subsets"}
    runner_of(history, registry, store, record, conditions=conditions).run_all(STEPS)
    record = read_again(store)
    assert record.state == "done"
    assert record.step("release").words == "2 subsets"
    assert record.step("publish").words == "needs release, which was skipped"
    assert record.step("thresholds").state == "skipped"
    assert registry.versions() == []


def test_a_failed_step_is_recorded_with_its_words_and_goes_on(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    def failing(run: object) -> None:
        raise ConfigError("no such thing", hint="give one")

    steps = [(name, failing if name == "release" else step) for name, step in STEPS]
    runner = runner_of(history, registry, store, new_record("one", history.end_ms))
    with pytest.raises(ConfigError):
        runner.run_all(steps)
    record = read_again(store)
    assert record.state == "failed"
    assert record.failed is not None
    assert (record.failed.name, record.failed.words) == ("release", "no such thing (give one)")
    again = runner_of(history, registry, store, record)
    ran = computed(again)
    again.run_all(STEPS)
    assert ran == [
        "release", "thresholds", "bias", "gates", "reference", "explain", "report", "publish",
    ]  # fmt: skip
    assert read_again(store).failed is None


def test_one_step_at_a_time(history: History, registry: FolderRegistry, store: Memory) -> None:
    record = new_record("one", history.end_ms)
    with pytest.raises(UsageError, match="choose needs collect"):
        runner_of(history, registry, store, record).run_one("choose", STEPS)
    with pytest.raises(UsageError, match="no step tune"):
        runner_of(history, registry, store, record).run_one("tune", STEPS)
    for name in NAMES:
        runner = runner_of(history, registry, store, record)
        ran = computed(runner)
        runner.run_one(name, STEPS)
        assert ran == [name]
        record = read_again(store)
        assert record.state == ("done" if name == "publish" else "running")
    assert [e.act for e in registry.history()] == ["published", "moved"]


def test_a_step_that_is_not_declared_runs_each_time(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    seen: list[int] = []
    steps = [*STEPS[:2], ("look", lambda run: seen.append(len(run.dataset.labels))), *STEPS[2:]]
    record = new_record("one", history.end_ms)
    for at in ("judge", "nowhere"):
        runner = runner_of(history, registry, store, record, observe=stopping(at))
        try:
            runner.run_all(steps)
        except Stopped:
            record = read_again(store)
    assert seen == [1200, 1200]
    assert read_again(store).step("look").state == "done"


def test_the_champion_that_moved_meanwhile_is_not_overwritten(
    history: History, registry: FolderRegistry, store: Memory
) -> None:
    record = new_record("one", history.end_ms)
    stop = runner_of(history, registry, store, record, observe=stopping("publish"))
    with pytest.raises(Stopped):
        stop.run_all(STEPS)
    train(history.store, registry, SETTINGS, at_ms=history.end_ms)
    for _ in range(2):
        final = runner_of(history, registry, store, read_again(store))
        with pytest.raises(StateError, match="champion points to version 1, not to no version"):
            final.run_all(STEPS)
        assert registry.aliases() == {"champion": 1}
        assert len(registry.versions()) == 2, "its own version is found again"
    failed = read_again(store).failed
    assert failed is not None
    assert "moved the alias meanwhile" in failed.words


def test_records_are_read_totally(history: History, store: Memory) -> None:
    record = new_record("one", history.end_ms)
    assert decode_record(encode_record(record), "x") == record
    for content in (b"", b"{}", b"[]", b"\xff", b'{"run": 1}', b"[" * 9999):
        with pytest.raises(StateError, match="damaged"):
            decode_record(content, "x")
    newer = msgspec.structs.replace(record, schema_version=2)
    with pytest.raises(StateError, match="newer version"):
        decode_record(encode_record(newer), "x")


def test_results_of_stores_belong_to_one_run() -> None:
    assert {name for name in NAMES if DECLARED[name].reads_outside} >= {"collect", "publish"}
    assert MAX_BYTES > 100_000_000
