"""The first hours: what README and the demo print works as printed, in any terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import console
from cli.__main__ import main
from cli.wiring.workspace import Workspace
from tests.worlds.brief_training import BRIEFLY

ROOT = Path(__file__).resolve().parents[2]
SHIM = """#!/bin/sh
exec "{python}" -P -c "import sys; from cli.entry import main; sys.exit(main())" "$@"
"""


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which the virtual environment was activated."""
    program = tmp_path / "bin" / "claimtrace"
    program.parent.mkdir()
    program.write_text(SHIM.format(python=sys.executable))
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_the_commands_of_the_readme_work_as_printed(tmp_path: Path, shell: dict[str, str]) -> None:
    here = tmp_path / "checkout"
    here.mkdir()
    (here / "claimtrace_examples").symlink_to(ROOT / "claimtrace_examples")
    text = (ROOT / "README.md").read_text()
    block = next(
        b for b in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "claimtrace simulate" in b
    )
    # a third of the training's time
    quick = shell | {f"CLAIMTRACE_{name}": text for name, text in BRIEFLY.items()}
    ran = subprocess.run(["sh", "-e", "-x", "-c", block], cwd=here, env=quick, text=True,
                         capture_output=True, check=False, timeout=1500)  # fmt: skip
    told = " ".join((ran.stdout + ran.stderr).split())
    assert ran.returncode == 0, told[-3000:]
    assert "promoted as the first champion" in told
    assert "0 of 72,778 decisions differ" in told
    assert re.search(r"example-1 (approve|review|refer) score", told)
    assert "Traceback" not in told


@pytest.mark.parametrize("way", ["default", "variable", "option", "variable and option"])
def test_a_folder_keeps_its_settings_however_it_is_named(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLAIMTRACE_FOLDER", raising=False)
    folder = Path("claimtrace-data" if way == "default" else "elsewhere")
    folder.mkdir()
    (folder / "claimtrace.toml").write_text("partitions = 7\n")
    if "variable" in way:
        monkeypatch.setenv("CLAIMTRACE_FOLDER", "nowhere" if "option" in way else str(folder))
    workspace = Workspace.open(None, folder if "option" in way else None)
    assert (workspace.folder, workspace.settings.partitions) == (folder, 7)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_terminal_shows_the_answers(encoding: str, tmp_path: Path) -> None:
    folder = tmp_path / "g\u00e4rten\u2603"

    def ran(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "claimtrace", "--folder", str(folder), *arguments], cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
        )  # fmt: skip

    simulated = ran("simulate", "--days", "2", "--claims-per-day", "9", "--policies", "100")
    assert simulated.returncode == 0, simulated.stderr
    told = ran("simulate", "--append", "--days", "1", "--json")
    assert json.loads(told.stdout.decode(encoding))["log"] == str(folder / "log.db")
    asked = ran("offline", "sql", "--json", "select '\u00e4\u2603\U0001f40d' as x")
    assert json.loads(asked.stdout.decode(encoding)) == [{"x": "\u00e4\u2603\U0001f40d"}]
    for command in (("doctor",), ("offline", "sql", "select '\u2603' as x")):
        answer = ran(*command)
        assert answer.returncode == 0, answer.stderr
        assert b"fault of ours" not in answer.stdout + answer.stderr
        answer.stdout.decode(encoding)


def test_a_reader_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m claimtrace features show | head -1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, text=True, capture_output=True,
                         check=True)  # fmt: skip
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[-1] == "0"


def test_the_program_is_named_as_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "bin" / "claimtrace"
    there.parent.mkdir()
    there.write_text("")
    there.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(there)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert console.program() == str(there)
    monkeypatch.setenv("PATH", str(there.parent))
    assert console.program() == "claimtrace"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "claimtrace" / "__main__.py")])
    assert console.program() == f"{sys.executable} -m claimtrace"


def test_an_example_claim_is_decided_on_an_empty_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ROOT / "claimtrace_examples" / "claim.json"
    assert main(["--folder", str(tmp_path / "none"), "score", "--json", str(file)]) == 0
    decision = json.loads(capsys.readouterr().out)
    assert (decision["claim_id"], decision["flags"]) == ("example-1", ["no_model"])
    assert not (tmp_path / "none").exists()
