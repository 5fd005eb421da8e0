"""Somebody's own domain: found in the current folder, never in place of a part of claimtrace."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from claimtrace.adapters.process.search_path import search_current_folder_last
from claimtrace.errors import DefinitionError
from claimtrace.rooms import ROOMS
from cli.__main__ import main
from cli.commands.start import init as init_command
from featurestore.definitions.domain import load_domain

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs" / "your-own-domain.md").read_text()
BROKEN = "raise RuntimeError('shadowed')\n"
WAYS = {
    "script": [str(BIN / "claimtrace")],
    "module": [sys.executable, "-m", "claimtrace"],
}


def a_table(path: Path, rows: int = 2400) -> None:
    """A table of claims as a small insurer may have it; a tenth of them are frauds."""
    rng, began = np.random.default_rng(5), datetime(2024, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["Claim No", "Policy No", "Garage", "Reported", "Amount", "Kind", "Fraud"])
        for i in range(rows):
            fraud = bool(rng.random() < 0.12)
            when = began + timedelta(days=i * 365 / rows)
            out.writerow([
                f"C-{i:05d}", f"P-{rng.integers(rows // 3)}",
                f"G-{rng.integers(8 if fraud else 40)}", f"{when:%d.%m.%Y %H:%M}",
                f"{rng.lognormal(8.6 if fraud else 7.4, 0.5):.2f}",
                ["Collision", "Theft", "Glass"][rng.integers(3)], "Yes" if fraud else "No",
            ])  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder with a table; the search path is as before afterwards."""
    a_table(tmp_path / "claims.csv", 60)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    for name in [name for name, file in files.items() if str(file).startswith(str(tmp_path))]:
        del sys.modules[name]


def run(way: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run([*WAYS[way], *arguments], capture_output=True, text=True, check=False,
                          env={**clean, **environment})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_domain_here_is_found_and_modules_here_shadow_nothing(here: Path, way: str) -> None:
    assert main(["init", "motor", "--from", "claims.csv"]) == 0
    (here / "own_motor.py").write_bytes((here / "motor" / "motor.py").read_bytes())
    for name in ("models", "cli", "stream", "json", "numpy", "claimtrace_examples"):
        (here / f"{name}.py").write_text(BROKEN)
    ran = run(way, "features", "show", "--json", CLAIMTRACE_DOMAIN="own_motor")
    assert ran.returncode == 0, ran.stderr
    assert "policy.claims.count.30d" in {each["name"] for each in json.loads(ran.stdout)}
    ran = run(way, "features", "show", CLAIMTRACE_DOMAIN="models")
    assert ran.returncode == 2
    assert "models is a package of claimtrace" in ran.stderr
    assert "my_models.py" in ran.stderr
    assert "shadowed" not in ran.stderr


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "claimtrace_examples"])
def test_a_domain_with_the_name_of_a_room_is_refused_by_name(room: str, here: Path) -> None:
    (here / f"{room}.py").write_text(BROKEN)
    for name in (room, f"{room}.domain"):
        with pytest.raises(DefinitionError, match=f"{room} is a package of claimtrace"):
            load_domain(name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("import nowhere_at_all", "no module nowhere_at_all"),
        ("def f(:", "can't be imported: SyntaxError"),
        ("1 / 0", "can't be imported: ZeroDivisionError"),
        ("DOMAIN = 3", "holds no DOMAIN"),
        ("", "holds no DOMAIN"),
    ],
)
def test_a_broken_module_is_the_users(
    content: str, words: str, here: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (here / "mine_here.py").write_text(content)
    monkeypatch.setenv("CLAIMTRACE_DOMAIN", "mine_here")
    assert main(["features", "show"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "fault of ours" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "words"),
    [("motor.py", "write motor"), ("./motor.py", "import statement"), ("a/b.py", "write a.b"),
     ("", "no module's name"), ("my-motor", "no module's name"), ("statistics", "holds no DOMAIN")],
)  # fmt: skip
def test_a_name_that_is_none_is_refused(name: str, words: str, here: Path) -> None:
    (here / "motor.py").write_text("")
    search_current_folder_last()
    with pytest.raises(DefinitionError) as refused:
        load_domain(name)
    assert words in str(refused.value)


def test_the_current_folder_is_searched_once_and_last(here: Path) -> None:
    sys.path.insert(0, "")
    sys.path.insert(0, str(here))
    for _ in range(2):
        search_current_folder_last()
        assert sys.path[-1] == str(here)
        assert sys.path.count(str(here)) == 1
        assert "" not in sys.path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models"], "the name of another module"),
        (["json"], "the name of another module"),
        (["numpy"], "the name of another module"),
        (["Motor"], "lower-case"),
        (["../motor"], "lower-case"),
        (["class"], "a word of Python"),
        (["here"], "exists already"),
        (["motor", "--currency", "euro"], "no currency"),
        (["motor", "--id", "Claim"], "did you mean Claim No"),
        (["motor", "--time", "Kind"], "can't be read as times"),
        (["motor", "--label", "Garage"], "too many values"),
    ],
)
def test_a_refused_init_writes_nothing(
    arguments: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "here").mkdir()
    before = sorted(here.rglob("*"))
    assert main(["init", *arguments, "--from", "claims.csv"]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert sorted(here.rglob("*")) == before


def test_on_a_terminal_the_id_and_the_time_are_asked_for(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def prompt(words: str, default: str, **_: object) -> str:
        asked.append((words, default))
        return {"id": default, "time": ""}["time" if "time" in words else "id"]

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(init_command.typer, "prompt", prompt)
    monkeypatch.setattr(init_command.sys, "stdin", Terminal())
    monkeypatch.setattr(type(init_command.out), "is_terminal", property(lambda _: True))
    assert main(["init", "motor", "--from", "claims.csv"]) == 0
    assert [default for _, default in asked] == ["Claim No", "Reported"]
    assert 'column = "Reported"' in (here / "motor" / "mapping.toml").read_text()
    assert (
        main(["init", "van", "--from", "claims.csv", "--id", "Claim No", "--time", "Reported"]) == 0
    )
    assert len(asked) == 2, "what an option says isn't asked for"


@pytest.mark.slow
def test_the_commands_of_the_page_run_as_printed(tmp_path: Path) -> None:
    a_table(tmp_path / "claims.csv")
    script = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    assert script.count("claimtrace ") >= 8
    ran = subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )  # fmt: skip
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    assert "2,400 events of" in said
    assert "2,400" in said
    assert "model motor/1 promoted" in said
    assert "0 of 2,400 decisions differ" in said
    assert "dead letters 0" in " ".join(said.split())
