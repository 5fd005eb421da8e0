"""What people see: one version of a model, the version, completion, and tables at two widths."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from claimtrace import __version__
from claimtrace_examples.auto_claims import DOMAIN
from cli.__main__ import main
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.models import a_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    registry = FolderRegistry(tmp_path / "models", DOMAIN.name)
    draft, document = a_model(1)
    told = {"actor": "Ann", "reason": "the first\n[one]", "at_ms": 1_800_000_000_000}
    registry.publish(draft, document, **told)  # type: ignore[arg-type]
    registry.move_alias("champion", 1, **told)  # type: ignore[arg-type]
    return tmp_path


def test_one_version_of_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(folder), "models", "show", "1"]) == 0
    shown = capsys.readouterr().out
    registry = FolderRegistry(folder / "models", DOMAIN.name)
    (ref,) = registry.versions()
    for words in (ref.digest, "champion", DOMAIN.definitions_digest, "refer at 0.3500", "by Ann"):
        assert words in shown
    assert "[one]" in shown
    assert main(["--folder", str(folder), "models", "show", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["version"] == 1
    assert main(["--folder", str(folder), "models", "show", "7"]) != 0
    assert "there is no version 7" in capsys.readouterr().err


def test_the_version_is_told_without_any_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claimtrace.toml").write_text("not toml at all")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_the_shell_completes_commands() -> None:
    environment = {**os.environ, "_CLAIMTRACE_COMPLETE": "complete_bash", "COMP_CWORD": "2",
                   "COMP_WORDS": "claimtrace models sh"}  # fmt: skip
    script = Path(sys.executable).parent / "claimtrace"
    ran = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["show"]


@pytest.mark.parametrize("columns", [80, 120])
def test_features_fit_a_terminal_with_their_names_whole(columns: int, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "claimtrace", "--folder", str(tmp_path), "features", "show"]
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        assert process.wait(60) == 0
    os.close(ours)
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= columns
    for name in DOMAIN.feature_names:
        assert any(name in line.split() for line in lines), name
