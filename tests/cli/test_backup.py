"""A backup is of one moment whatever goes on meanwhile, and is taken whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.adapters.files.file_copies import MANIFEST_NAME, FileCopies, read_manifest
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.encoding.encoder import encode
from claimtrace.errors import StateError, UsageError
from claimtrace.events import Outgoing
from claimtrace.settings.schema import Settings, StreamSettings
from cli.__main__ import main
from cli.commands.keep import backup as backup_command
from cli.stream_run import run_stream
from cli.wiring.workspace import Workspace
from stream.adapters.embedded.file_journal import read_plans
from stream.adapters.embedded.log import EmbeddedOutput
from tests.worlds.models import a_model
from tests.worlds.random_events import a_stream

EVENTS = a_stream(11, 700)
PARTS = ("_copy_snapshots", "_copy_offline", "_copy_log", "_copy_journal", "_copy_models")


def workspace(folder: Path) -> Workspace:
    stream = StreamSettings(batch_records=20, snapshot_every_records=60, offline_every_records=30)
    return Workspace(Settings(folder=str(folder), stream=stream))


def put(folder: Path, first: int, last: int) -> None:
    """Put events on the log of a folder, on one partition so that their order is fixed."""
    log = workspace(folder).log(create=True)
    log.append([
        Outgoing(event.topic, 0, b"k", encode(event), at) for _, event, _, at in EVENTS[first:last]
    ])  # fmt: skip
    log.close()


def stream(folder: Path) -> None:
    run_stream(workspace(folder), until_end=True, quiet=True)


def promote(folder: Path, version: int) -> None:
    registry = workspace(folder).registry
    draft, document = a_model(version)
    told: dict[str, Any] = {"actor": "tests", "reason": "a backup", "at_ms": 1_800_000_000_000}
    ref = registry.publish(draft, document, **told)
    registry.move_alias("champion", ref.version, **told)


def decisions(folder: Path) -> list[bytes | None]:
    with EmbeddedLog(folder / "log.db", create=False) as log:
        if DECISIONS_TOPIC not in log.topics():
            return []
        return [record.value for record in log.read(DECISIONS_TOPIC, 0, 0, 10**6)]


def ask(folder: Path, *arguments: str) -> int:
    return main(["--folder", str(folder), *arguments])


def check_restored(source: Path, restored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy verifies, streams on, and decides as the original, whose decisions go further."""
    capsys.readouterr()
    assert ask(restored, "verify", "--json") == 0
    assert json.loads(capsys.readouterr().out)["differ"] == 0
    stream(restored)
    ours, theirs = decisions(restored), decisions(source)
    assert ours
    assert [_plain(each) for each in ours] == [_plain(each) for each in theirs[: len(ours)]]
    put(restored, 690, 700)
    stream(restored)
    assert len(decisions(restored)) > len(ours)
    assert ask(restored, "verify", "--json") == 0
    assert json.loads(capsys.readouterr().out)["differ"] == 0
    assert ask(restored, "features", "diff", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["missing"], told["extra"], told["differing"]) == (0, 0, 0)
    assert ask(restored, "models", "check") == 0


def _plain(decision: bytes | None) -> dict[str, Any]:
    """A decision without what its plan chose: the model may have changed at another plan."""
    told: dict[str, Any] = msgspec.json.decode(decision or b"")
    keep = ("claim_id", "position", "features", "feature_hash", "flags")
    return {name: told[name] for name in keep}


@pytest.mark.slow
@pytest.mark.parametrize(
    "moving", ["all", *(pytest.param(part, marks=pytest.mark.long) for part in PARTS)]
)
def test_a_copy_is_consistent_whatever_happens_between_its_parts(
    moving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole worker runs on, with a new model, before one part is copied, or before each."""
    source, at = tmp_path / "source", 200
    put(source, 0, at)
    promote(source, 1)
    stream(source)
    versions = iter(range(2, 10))

    def before(copy: Callable[..., Any]) -> Callable[..., Any]:
        def moved(*arguments: Any) -> Any:
            nonlocal at
            put(source, at, at + 80)
            at += 80
            promote(source, next(versions))
            stream(source)
            return copy(*arguments)

        return moved

    for name in PARTS if moving == "all" else (moving,):
        monkeypatch.setattr(backup_command, name, before(getattr(backup_command, name)))
    assert ask(source, "backup", str(tmp_path / "copy")) == 0
    monkeypatch.undo()
    assert ask(tmp_path / "restored", "restore", str(tmp_path / "copy")) == 0
    check_restored(source, tmp_path / "restored", capsys)


@pytest.mark.slow
def test_a_plan_without_its_decisions_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log is copied when a plan is in the journal and its decisions aren't on the log yet."""
    source = tmp_path / "source"
    put(source, 0, 100)
    promote(source, 1)
    stream(source)
    put(source, 100, 120)
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedOutput, "emit", killed)
        with pytest.raises(Killed):
            stream(source)
    assert ask(source, "backup", str(tmp_path / "copy"), "--json") == 0
    last = json.loads(capsys.readouterr().out)["last_plan"]
    assert len(list(read_plans(source / "state" / "journal"))) == last + 1
    stream(source)
    assert ask(tmp_path / "restored", "restore", str(tmp_path / "copy")) == 0
    put(tmp_path / "restored", 120, 140)
    put(source, 120, 140)
    stream(source)
    check_restored(source, tmp_path / "restored", capsys)


class Killed(BaseException):
    """The end of a process."""


def killed(*_: object) -> None:
    raise Killed


@pytest.mark.slow
def test_backups_beside_a_working_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    put(source, 0, 100)
    promote(source, 1)
    environment = {
        **os.environ, "CLAIMTRACE_STREAM__BATCH_RECORDS": "20",
        "CLAIMTRACE_STREAM__SNAPSHOT_EVERY_RECORDS": "60",
        "CLAIMTRACE_STREAM__OFFLINE_EVERY_RECORDS": "30",
    }  # fmt: skip
    command = [sys.executable, "-m", "claimtrace", "--folder", str(source), "stream"]
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        copies = []
        for at in range(100, 600, 100):
            wanted, until_s = len(decisions(source)) + 1, time.monotonic() + 120
            put(source, at, at + 100)
            while len(decisions(source)) < wanted and time.monotonic() < until_s:
                time.sleep(0.02)
            copies.append(tmp_path / f"copy-{at}")
            assert ask(source, "backup", str(copies[-1])) == 0
        assert worker.poll() is None, "the worker lives"
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    stream(source)
    for copy in (copies[0], copies[-1]):
        assert ask(tmp_path / copy.name / "restored", "restore", str(copy)) == 2, "inside of it"
        restored = tmp_path / f"restored-{copy.name}"
        assert ask(restored, "restore", str(copy)) == 0
        check_restored(source, restored, capsys)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stream behind it, and a whole backup of it beside it."""
    folder = tmp_path_factory.mktemp("small")
    put(folder / "source", 0, 60)
    promote(folder / "source", 1)
    stream(folder / "source")
    assert ask(folder / "source", "backup", str(folder / "copy")) == 0
    return folder


def test_a_backup_that_is_stopped_leaves_nothing_that_looks_whole(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(FileCopies, "finish", stop)
    assert ask(small / "source", "backup", str(tmp_path / "copy")) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_was_killed_is_refused_and_taken_anew(small: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from claimtrace.adapters.files.file_copies import FileCopies\n"
        "FileCopies.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from cli.__main__ import main\n"
        "main(sys.argv[1:])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "--folder", str(small / "source"), "backup",
         str(tmp_path / "copy")], cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGKILL
    assert not (tmp_path / "copy").exists()
    left = next(tmp_path.glob(".copy.unfinished/copy"))
    assert (left / "log.db").exists()
    with pytest.raises(UsageError, match="no whole backup"):
        read_manifest(left)
    assert ask(tmp_path / "restored", "restore", str(left)) == 2
    assert ask(small / "source", "backup", str(tmp_path / "copy")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def damage(copy: Path, how: str) -> None:
    path = copy / MANIFEST_NAME
    manifest = json.loads(path.read_bytes())
    victim = copy / next(f["path"] for f in manifest["files"] if f["path"].endswith("journal"))
    if how == "a flipped byte":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif how == "a cut file":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif how == "a missing file":
        victim.unlink()
    elif how == "one file more":
        (copy / "models" / "extra.json").write_text("{}")
    elif how == "a link in place of a file":
        victim.rename(copy.parent / "journal")
        victim.symlink_to(copy.parent / "journal")
    elif how == "a cut manifest":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "no manifest":
        path.unlink()
    elif how == "another format":
        path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2'))
    else:
        manifest["files"][0]["path"] = how
        path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "how",
    ["a flipped byte", "a cut file", "a missing file", "one file more", "a link in place of a file",
     "a cut manifest", "no manifest", "another format", "../outside", "/etc/passwd", "a/../b", "",
     ".", "a//b", "a\\b", "state/journal", MANIFEST_NAME, "nul\0byte"],
)  # fmt: skip
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    how: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small / "copy", copy)
    damage(copy, how)
    before = {path for path in tmp_path.rglob("*") if copy not in path.parents}
    code = ask(tmp_path / "restored", "restore", str(copy))
    assert code in (UsageError.exit_code, StateError.exit_code)
    assert "fault of ours" not in capsys.readouterr().err
    assert {path for path in tmp_path.rglob("*") if copy not in path.parents} == before


def test_restore_replaces_nothing(small: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    assert ask(full, "restore", str(small / "copy")) == 2
    assert [path.name for path in full.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert ask(tmp_path / "empty", "restore", str(small / "copy")) == 0
    assert ask(tmp_path / "empty", "restore", str(small / "copy")) == 2


@pytest.mark.parametrize("inside", ["source/state/copy", "source/offline/copy", "source/models/x"])
def test_a_backup_is_not_put_into_what_it_copies(inside: str, small: Path) -> None:
    assert ask(small / "source", "backup", str(small / inside)) == 2
    assert not (small / inside).exists()


def test_wrong_places_are_refused(small: Path, tmp_path: Path) -> None:
    assert ask(small / "source", "backup", str(small / "copy")) == 2, "it exists"
    assert ask(tmp_path / "nowhere", "backup", str(tmp_path / "copy")) == 2
    assert ask(tmp_path / "restored", "restore", str(tmp_path / "nowhere")) == 2
    assert list(tmp_path.iterdir()) == []


def test_registry_and_offline_store_of_their_own_come_along(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(small / "source", source)
    (source / "models").rename(tmp_path / "shared-models")
    (source / "offline").rename(tmp_path / "shared-offline")
    monkeypatch.setenv("CLAIMTRACE_MODELS", str(tmp_path / "shared-models"))
    monkeypatch.setenv("CLAIMTRACE_OFFLINE", str(tmp_path / "shared-offline"))
    assert ask(source, "backup", str(tmp_path / "copy")) == 0
    assert ask(tmp_path / "one", "restore", str(tmp_path / "copy")) == 2, "the shared ones are full"
    monkeypatch.setenv("CLAIMTRACE_MODELS", str(tmp_path / "new-models"))
    monkeypatch.setenv("CLAIMTRACE_OFFLINE", str(tmp_path / "new-offline"))
    assert ask(tmp_path / "two", "restore", str(tmp_path / "copy")) == 0
    assert (tmp_path / "new-models" / "auto_claims" / "approvals.log").exists()
    assert (tmp_path / "new-offline" / "decisions" / "_delta_log").is_dir()
    assert not (tmp_path / "two" / "models").exists()
    capsys.readouterr()
    assert ask(tmp_path / "two", "verify", "--json") == 0
    assert json.loads(capsys.readouterr().out)["differ"] == 0


def test_a_log_on_a_cluster_and_a_store_in_a_bucket_are_said_not_to_be_in_it(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAIMTRACE_SOURCE", "kafka://127.0.0.1:1")
    monkeypatch.setenv("CLAIMTRACE_OFFLINE", "s3://bucket/offline")
    assert ask(small / "source", "backup", "--json", str(tmp_path / "copy")) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["left_out"]) == 2
    assert told["log_records"] == told["tables"] == {}
    assert not (tmp_path / "copy" / "log.db").exists()
    assert (tmp_path / "copy" / "state" / "snapshots").is_dir()
    assert (tmp_path / "copy" / "models").is_dir()
