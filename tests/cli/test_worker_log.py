"""A worker without a terminal writes one line an event; with a terminal it shows its progress."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from claimtrace.errors import StateError
from cli.__main__ import main
from cli.commands.run import stream
from cli.console import notify

SECRET = "correct-horse-battery"
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +(\S.*?)(  .*)?"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("logged") / "data"
    small = ["--days", "3", "--claims-per-day", "20", "--policies", "200"]
    assert main(["--folder", str(made), "simulate", *small]) == 0
    return made


@pytest.mark.slow
def test_text_lines_then_json_lines_then_a_progress_bar(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "claimtrace", "--folder", str(folder), "stream", "--until-end"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = ran.stderr.splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), ran.stderr
    events = [match[2] for match in found if match is not None]
    assert events == ["start", "ready", "first plan written", "snapshot published", "end"]
    assert max(map(len, lines)) > 150, "a long line is not wrapped"

    environment = {**os.environ, "CLAIMTRACE_LOG__FORMAT": "json"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [each["event"] for each in told] == ["start", "ready", "end"]
    assert told[-1]["records"] == 0

    ours, theirs = pty.openpty()
    ran = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, text=True, check=True)
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "stream" in shown
    assert "INFO" not in shown
    assert "nothing new" in ran.stdout


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CLAIMTRACE_SECURITY__PASSWORD", SECRET)
    return monkeypatch


def test_a_fault_of_ours_goes_with_its_trace_into_the_log(
    broken: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"the password is {SECRET}\nand that is that")

    broken.chdir(tmp_path)
    broken.setattr(stream, "run_stream", fail)
    assert main(["--folder", str(tmp_path / "data"), "stream"]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    assert "a fault of ours: RuntimeError" in lines[1]
    assert "Traceback" in lines[1]
    assert SECRET not in "".join(lines)
    assert not (tmp_path / "claimtrace.log").exists()


def test_a_users_mistake_is_a_line_with_its_fix(
    broken: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StateError("the folder is in use", where="/data", hint="stop process 12")

    broken.setattr(stream, "run_stream", fail)
    broken.setenv("CLAIMTRACE_LOG__FORMAT", "json")
    assert main(["--folder", str(tmp_path), "stream"]) == StateError.exit_code
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert told[1]["event"] == "ended by an error: the folder is in use"
    assert (told[1]["where"], told[1]["fix"]) == ("/data", "stop process 12")


def test_a_message_of_any_part_is_a_log_line(
    broken: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def note(*_: object, **__: object) -> None:
        notify("first\nsecond")
        raise StateError("the end")

    broken.setattr(stream, "run_stream", note)
    main(["--folder", str(tmp_path), "stream"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert r"WARNING first\nsecond" in lines[1]


def test_words_of_the_settings_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAIMTRACE_LOG__FORMAT", "xml")
    assert main(["--folder", str(tmp_path), "stream"]) == 2
    assert "log.format" in capsys.readouterr().err
