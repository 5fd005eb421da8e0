"""`claimtrace pipeline`: run, go on, look, and watch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claimtrace.adapters.files.folder_lock import FolderLock
from cli.__main__ import main
from cli.commands.pipeline import running
from cli.wiring.pipeline_runs import PipelineRuns
from cli.wiring.workspace import Workspace
from tests.worlds.pipeline_runs import NAMES, tiny_history

ROOT = Path(__file__).resolve().parents[2]
TOML = """
[decision]
capacity_per_day = 2.0
[training]
min_frauds = 5
params = { rounds = 6, max_depth = 2 }
[pipeline]
new_labels = 100
"""


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A folder with a tiny history of its own; the store is shared and only read."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "offline").symlink_to(made / "offline")
    (folder / "claimtrace.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    tiny_history(made / "offline")
    return made


def told(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    ended = main(["--folder", str(folder), "pipeline", *arguments])
    printed = capsys.readouterr()
    assert ended == code, printed.err
    return printed.out + printed.err


def asked_json(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(told(folder, capsys, *arguments, "--json"))


def interrupt_at(folder: Path, step: str, name: str | None = None) -> None:
    """Stop a run before a step, as a kill would."""

    class Stopped(BaseException):
        pass

    def observe(point: str, at: str) -> None:
        if (point, at) == ("begun", step):
            raise Stopped

    workspace = Workspace.open(None, folder)
    asked = running.Asked(settings=workspace.settings, run=name)
    with pytest.raises(Stopped):
        running.run_pipeline(workspace, asked, quiet=True, observe=observe)


def test_a_run_is_shown_listed_and_not_repeated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no run yet" in told(folder, capsys, "status")
    assert "no run yet" in told(folder, capsys, "list")
    assert not (folder / "pipeline").exists()
    text = told(folder, capsys, "run", "--as-of", "2024-06-01")
    for word in (*NAMES, "done", "promoted", "Quality", "as of 2024-06-01"):
        assert word in text
    assert all(len(line) <= 100 for line in text.splitlines() if "step" in line)
    [record] = asked_json(folder, capsys, "list")
    assert record["state"] == "done"
    assert [step["name"] for step in record["steps"]] == NAMES
    assert record["published"]["version"] == 1
    shown = asked_json(folder, capsys, "status", record["run"])
    assert shown == {"run": record, "is_running": False}
    # the same again takes over what is equal; the champion is another input
    again = asked_json(folder, capsys, "run", "--as-of", "2024-06-01", "--capacity", "3")
    cached = {step["name"]: step["cached"] for step in again["run"]["steps"]}
    assert cached["collect"] is False
    assert again["report"]["model"]["version"] == 2
    assert len(asked_json(folder, capsys, "list")) == 2
    listed = told(folder, capsys, "list")
    assert "auto_claims/1, promoted" in listed
    assert "a person" in listed


def test_an_interrupted_run_goes_on_and_a_new_one_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(folder, "judge")
    text = told(folder, capsys, "status")
    assert "interrupted" in text
    assert "pipeline run --run" in text
    first = asked_json(folder, capsys, "status")["run"]
    told(folder, capsys, "run", "--param", "training.seed=9", code=2)
    text = told(folder, capsys, "run")
    assert "goes on: 4 of 16 steps are done" in text
    record = asked_json(folder, capsys, "status")["run"]
    assert (record["run"], record["state"], record["starts"]) == (first["run"], "done", 2)
    assert record["steps"][0] == first["steps"][0], "collect wasn't run again"
    interrupt_at(folder, "judge", "other")
    text = told(folder, capsys, "run", "--new", "--param", "training.seed=9")
    assert "goes on" not in text
    records = asked_json(folder, capsys, "list")
    assert [r["state"] for r in records] == ["done", "running", "done"]
    assert records[0]["settings"]["training"]["seed"] == 9


def test_a_named_run_begins_goes_on_and_is_done_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "scheduled__2024-06-01T00:00:00+00:00"
    for step in NAMES:
        told(folder, capsys, "run", "--run", name, "--only", step, "--as-of", "2024-06-01")
    record = asked_json(folder, capsys, "status", name)["run"]
    assert record["state"] == "done"
    for more in (("--only", "publish"), ()):
        told(folder, capsys, "run", "--run", name, *more)  # a task that is tried again
    assert asked_json(folder, capsys, "status", name)["run"] == record
    assert [e.act for e in Workspace.open(None, folder).registry.history()] == [
        "published", "moved",
    ]  # fmt: skip


def test_what_is_not_promoted_need_not_be_published(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(folder, capsys, "run", "--as-of", "2024-06-01")
    ran = asked_json(
        folder, capsys, "run", "--as-of", "2024-06-01", "--param", "pipeline.publish=promoted"
    )
    publish = ran["run"]["steps"][-1]
    assert publish["state"] == "skipped"
    assert "kept the champion" in publish["words"]
    assert ran["report"] is None
    assert len(Workspace.open(None, folder).registry.versions()) == 1


def test_scores_are_written_whatever_is_taken_over(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = []
    for name in ("one.parquet", "two.parquet"):
        told(folder, capsys, "run", "--as-of", "2024-06-01", "--scores", str(tmp_path / name))
        tables.append((tmp_path / name).read_bytes())
    assert len(tables[0]) > 1000
    record = asked_json(folder, capsys, "status")["run"]
    assert record["steps"][-1]["name"] == "scores"
    assert "publish" not in record["steps"][-1]["needs"]


def test_a_failed_run_says_where_and_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(
        folder, capsys, "run", "--run", "few", "--param", "training.min_frauds=9999", code=2
    )
    assert "stopped in the step split" in text
    text = told(folder, capsys, "status", "few")
    assert "failed" in text
    assert "9999 are needed" in " ".join(text.split())
    assert "pipeline run --run few" in text


def test_results_of_old_runs_are_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in (1, 2):
        told(folder, capsys, "run", "--as-of", f"2024-06-0{day}", "--param",
             "pipeline.keep_runs=1")  # fmt: skip
    kept = {path.name for path in (folder / "pipeline" / "results").iterdir()}
    records = PipelineRuns(folder / "pipeline").records()
    assert kept <= {row.key for row in records[0].steps}
    assert records[0].step("choose").key in kept
    assert records[1].step("choose").key not in kept
    assert records[0].step("collect").key not in kept


def test_two_runs_at_once_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt_at(folder, "judge")
    with FolderLock(folder / "pipeline"):
        assert "under way" in told(folder, capsys, "run", code=70)
        assert asked_json(folder, capsys, "status")["is_running"] is True
        assert "running" in told(folder, capsys, "list")
        assert '"outcome":"busy"' in told(folder, capsys, "watch", "--once", "--json")
    assert "interrupted" in told(folder, capsys, "list")


def test_one_watcher_wins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FolderLock(folder / "pipeline" / "watch"):
        text = told(folder, capsys, "watch", "--once", code=70)
    assert "somebody watches already" in text


def test_a_watch_runs_for_new_labels_and_then_waits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look = asked_json(folder, capsys, "watch", "--once")
    assert (look["outcome"], look["triggers"][0]["kind"]) == ("run", "labels")
    [record] = asked_json(folder, capsys, "list")
    assert record["triggers"] == look["triggers"]
    look = asked_json(folder, capsys, "watch", "--once")
    assert (look["outcome"], look["triggers"]) == ("nothing", [])
    assert "nothing asks for a run" in told(folder, capsys, "watch", "--once")


def test_a_watch_lets_an_interrupted_run_go_on_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(folder, "evaluate", "left")
    look = asked_json(folder, capsys, "watch", "--once")
    assert (look["outcome"], look["run"], look["triggers"]) == ("run", "left", [])


def test_a_damaged_record_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt_at(folder, "judge", "one")
    (folder / "pipeline" / "runs" / "one" / "run.json").write_text("{")
    for command in (("status", "one"), ("list",), ("run",), ("watch", "--once")):
        text = told(folder, capsys, *command, code=70)
        assert "damaged" in text
        assert "one/run.json" in "".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)],
)
def test_a_watch_ends_when_it_is_told_to(folder: Path, sent: signal.Signals, code: int) -> None:
    environment = {**os.environ, "CLAIMTRACE_PIPELINE__NEW_LABELS": "100000"}
    started = subprocess.Popen(
        [sys.executable, "-m", "claimtrace", "-f", str(folder), "pipeline", "watch"],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    lock = folder / "pipeline" / "watch" / "lock"
    while not (lock.exists() and lock.read_text()):
        assert started.poll() is None, started.communicate()
    started.send_signal(sent)
    out, err = started.communicate(timeout=120)
    assert started.returncode == code, err
    assert "Traceback" not in out + err
    with FolderLock(lock.parent):
        pass
