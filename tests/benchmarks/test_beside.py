"""Two checkouts in turns: order, ratios, table, exit codes; the checkouts here are small fakes."""

from __future__ import annotations

import doctest
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import beside, checkouts
from benchmarks.beside import Pair, Spread
from benchmarks.checkouts import Checkout
from claimtrace.errors import StateError, UsageError

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (2000, 64)
FAKE = """
import json, os, sys, time
from pathlib import Path

def figures():
    folder = Path(__file__).resolve().parents[1]
    calls = folder.parent / "calls"
    calls.write_text(calls.read_text() + f"{folder.name} {' '.join(sys.argv[1:])}\\n")
    told = json.loads((folder / "figures.json").read_text())
    if "fails" in told:
        sys.exit("Traceback\\nValueError: " + told["fails"])
    time.sleep(told.get("sleeps", 0))
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert os.environ["PYTHONPATH"] == str(folder), os.environ["PYTHONPATH"]
    return told
"""
DIRECT = """
import json, sys
from .fake import figures
if "--help" in sys.argv:
    print("usage: it [-h] [--json] [--warm N] [--events-each N]")
else:
    print(json.dumps(figures()))
"""
FRONT_DOOR = """
import json, sys
from pathlib import Path
from .fake import figures
Path(sys.argv[-1]).write_text(json.dumps({"parts": {"throughput": {"figures": figures()}}}))
"""


def turn(us: float, per_s: float = 1e4) -> dict[str, object]:
    rates = [
        {"batch": batch, "events": 100, "cpu_us_per_event": us, "events_per_s": per_s}
        for batch in BATCHES
    ]
    return {"policies": 10, "rates": rates}


def fake(folder: Path, figures: dict[str, object], *, direct: bool = True) -> Path:
    package = folder / "benchmarks"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "claimtrace"\n')
    (folder / "figures.json").write_text(json.dumps(figures))
    (folder.parent / "calls").touch()
    (package / "fake.py").write_text(FAKE)
    (package / "__main__.py").write_text(FRONT_DOOR)
    if direct:
        (package / "throughput.py").write_text(DIRECT)
    return folder


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """`python -m benchmarks --beside old`, from a checkout that is a fake as well."""
    monkeypatch.setattr(bench, "ROOT", tmp_path / "new")
    file = tmp_path / "it" / "beside.json"

    def run(*more: str) -> int:
        told = ["--beside", str(tmp_path / "old"), "--turns", "3", "--json", str(file), *more]
        return bench.main(told)

    return run


def test_turns_alternate_after_a_pair_that_is_not_counted(tmp_path, compare, capsys):
    fake(tmp_path / "old", turn(30.0, 1e4))
    fake(tmp_path / "new", turn(20.0, 1.2e4))
    assert compare() == 0
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert [call[0] for call in calls] == ["old", "new", "new", "old"] * 2
    assert {tuple(call[1:]) for call in calls} == {
        ("--json", "--warm", f"{beside.WARM}", "--events-each", f"{beside.EVENTS_EACH}")
    }
    found = json.loads((tmp_path / "it" / "beside.json").read_text())
    assert len(found["pairs"]) == 3
    assert found["pairs"][0]["before"] == turn(30.0, 1e4)
    assert found["ratios"] == {
        name: {"least": 1.5, "middle": 1.5, "most": 1.5} for name in ("2000", "64", "all")
    }
    said = capsys.readouterr()
    assert " 2000     1      30.0      20.0    10,000    12,000      1.500     1.200" in said.out
    assert "  all 1.500    1.500   1.500" in said.out
    assert "turns of the same checkout differ by up to 0%" in said.out
    assert said.err.index("warm-up turn: before") < said.err.index("turn 3 of 3: after")
    assert "after took 20.0, 20.0 CPU us an event at batches of 2000, 64" in said.err


def test_a_checkout_without_the_module_is_asked_through_the_front_door(tmp_path, compare, capsys):
    fake(tmp_path / "old", turn(30.0), direct=False)
    fake(tmp_path / "new", turn(20.0))
    assert compare() == 0
    assert "before takes no sizes: both run at their default sizes" in capsys.readouterr().err
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("old --only throughput --json ")
    assert calls[1] == "new --json"


@pytest.mark.parametrize(("least", "code"), [("0.6", 0), ("0.7", 1)])
def test_a_median_ratio_below_the_asked_one_ends_with_code_1(
    tmp_path, compare, capsys, least, code
):
    fake(tmp_path / "old", turn(20.0))
    fake(tmp_path / "new", turn(30.0))
    assert compare("--at-least", least) == code
    assert ("the median ratio 0.667 is below 0.7" in capsys.readouterr().err) == bool(code)


def test_a_folder_that_is_no_checkout_is_refused_with_a_hint(tmp_path, compare, capsys):
    fake(tmp_path / "new", turn(20.0))
    (tmp_path / "old").mkdir()
    assert compare() == UsageError.exit_code
    said = capsys.readouterr().err
    assert f"this is no checkout of claimtrace [{tmp_path / 'old'}]" in said
    assert "name the top folder of a clone" in said


def test_another_project_is_no_checkout(tmp_path):
    folder = fake(tmp_path / "other", turn(1.0))
    assert checkouts.is_checkout(folder)
    (folder / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert not checkouts.is_checkout(folder)
    (folder / "pyproject.toml").write_text("no TOML [")
    assert not checkouts.is_checkout(folder)
    assert checkouts.is_checkout(ROOT)


def test_a_run_that_fails_shows_the_end_of_its_errors(tmp_path, compare, capsys):
    fake(tmp_path / "old", {"fails": "no such model"})
    fake(tmp_path / "new", turn(20.0))
    assert compare() == StateError.exit_code
    said = capsys.readouterr().err
    assert "  Traceback\n  ValueError: no such model\n" in said
    assert "`python -m benchmarks.throughput` of the checkout 'before' ended with code 1" in said
    assert "run that command in that folder" in said


def test_different_work_is_not_compared(tmp_path, compare, capsys):
    fake(tmp_path / "old", turn(30.0) | {"policies": 11})
    fake(tmp_path / "new", turn(30.0))
    assert compare() == StateError.exit_code
    assert "the checkouts measure different work: [11, " in capsys.readouterr().err


def test_a_checkout_is_run_by_its_own_environment(tmp_path):
    folder = fake(tmp_path / "old", turn(30.0))
    assert Checkout.open("old", folder).python == Path(sys.executable)
    own = folder / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    own.chmod(0o755)
    opened = Checkout.open("old", folder)
    assert opened.python == own
    assert opened.measure(None, {}) == turn(30.0)


def test_ctrl_c_ends_the_run_and_what_it_started(tmp_path):
    fake(tmp_path / "old", turn(30.0) | {"sleeps": 60})
    line = [sys.executable, "-m", "benchmarks", "--beside", str(tmp_path / "old"),
            "--json", str(tmp_path / "beside.json")]  # fmt: skip
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while not (tmp_path / "calls").read_text():  # the turn has begun
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "stopped" in errors
    assert json.loads((tmp_path / "beside.json").read_text())["pairs"] == []
    assert not any(str(tmp_path / "old") in where for where in working_directories())


def working_directories() -> list[str]:
    """Of all processes that can be looked at."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            found.append(os.readlink(path))
        except OSError:
            continue
    return found


def test_ratios_are_by_pair_and_all_is_their_geometric_mean():
    before = {"rates": [{"batch": 2000, "cpu_us_per_event": 20.0},
                        {"batch": 64, "cpu_us_per_event": 90.0}]}  # fmt: skip
    after = {"rates": [{"batch": 2000, "cpu_us_per_event": 10.0},
                       {"batch": 64, "cpu_us_per_event": 180.0}]}  # fmt: skip
    found = dict(beside.ratios([Pair(before, after), Pair(before, before)]))
    assert found == {"2000": [2.0, 1.0], "64": [0.5, 1.0], "all": [1.0, 1.0]}
    assert Spread.of(found["2000"]) == (1.0, 1.5, 2.0)


def test_the_message_tells_when_pairs_disagree(tmp_path, monkeypatch, capsys):
    def compare(*_):
        pairs = [Pair(turn(20.0), turn(us)) for us in (25.0, 25.0, 16.0)]
        found = {"commits": {"before": "a", "after": "b"}, "cores_of_others": 0.5}
        found |= {"pairs": [pair._asdict() for pair in pairs]}
        found |= {"ratios": {n: Spread.of(r)._asdict() for n, r in beside.ratios(pairs)}}
        return found | {"own_spread": beside.own_spread(pairs)}

    monkeypatch.setattr(beside, "compare", compare)
    assert bench.main(["--beside", str(tmp_path), "--at-least", "0.97"]) == 1
    said = capsys.readouterr()
    assert "the median ratio 0.800 is below 0.97; some pairs are not" in said.err
    assert "differ by up to 56%; other programs took 0.5 cores" in said.out


def test_two_turns_are_too_few(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--beside", ".", "--turns", "2"])
    assert "--turns: at least 3" in capsys.readouterr().err


@pytest.mark.parametrize("module", [beside, checkouts], ids=lambda each: each.__name__)
def test_examples_hold(module):
    assert doctest.testmod(module).failed == 0
