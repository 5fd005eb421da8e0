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
PROGRAM = """
import json, os, sys, time
from pathlib import Path

folder = Path.cwd()
calls = folder.parent / "calls"

def call(what):
    with calls.open("a") as file:
        file.write(f"{folder.name} {what}\\n")

told = json.loads((folder / "figures.json").read_text())
sizes = json.loads(sys.stdin.readline())
call("start " + " ".join(map(str, sizes.values())))
assert "NUMBA_CACHE_DIR" not in os.environ
assert os.environ["PYTHONPATH"] == str(folder), os.environ["PYTHONPATH"]
if "fails" in told:
    sys.exit("Traceback\\nValueError: " + told["fails"])
time.sleep(told.get("sleeps", 0))
print(json.dumps({"policies": told["policies"]}), flush=True)
for line in sys.stdin:
    call("stretch")
    print(json.dumps([{"batch": int(batch), "events": events + told["more"],
                       "cpu_us_per_event": told["us"], "events_per_s": 1e4}
                      for batch, events in json.loads(line).items()]), flush=True)
"""


def side(us: float, **more: object) -> dict[str, object]:
    return {"us": us, "policies": 10, "more": 0, **more}


def rates(us: float) -> list[dict[str, object]]:
    return [{"batch": batch, "events": 100, "cpu_us_per_event": us} for batch in (2000, 64)]


def fake(folder: Path, figures: dict[str, object]) -> Path:
    package = folder / "benchmarks"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "claimtrace"\n')
    (folder / "figures.json").write_text(json.dumps(figures))
    (folder.parent / "calls").touch()
    (package / "__main__.py").touch()
    return folder


@pytest.fixture(autouse=True)
def program(tmp_path, monkeypatch):
    """Known figures instead of a benchmark, by the same requests and answers."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    monkeypatch.setattr(checkouts, "PROGRAM", path)


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """`python -m benchmarks --beside old`, from a checkout that is a fake as well."""
    monkeypatch.setattr(bench, "ROOT", tmp_path / "new")
    file = tmp_path / "it" / "beside.json"

    def run(*more: str) -> int:
        told = ["--beside", str(tmp_path / "old"), "--turns", "3", "--json", str(file), *more]
        return bench.main(told)

    return run


def test_turns_alternate_after_one_that_is_not_counted(tmp_path, compare, capsys):
    fake(tmp_path / "old", side(30.0))
    fake(tmp_path / "new", side(20.0))
    assert compare() == 0
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    a_turn = sum(batch + events for batch, events in beside.STRETCHES.items())
    sizes = [f"{beside.WARM}", f"{4 * a_turn}"]
    assert calls[:2] == [["old", "start", *sizes], ["new", "start", *sizes]]
    assert [call[0] for call in calls[2:]] == ["old", "new", "new", "old"] * 2
    found = json.loads((tmp_path / "it" / "beside.json").read_text())
    assert len(found["pairs"]) == 3
    names = [*map(str, beside.STRETCHES), "all"]
    assert found["ratios"] == {name: {"lower": 1.5, "middle": 1.5, "upper": 1.5} for name in names}
    said = capsys.readouterr()
    assert " 2000     30.0     20.0             1.500    1.500            1.500" in said.out
    assert "  all                               1.500    1.500            1.500" in said.out
    assert said.err.index("before: model") < said.err.index("turn 3 of 3: after / before")
    assert "1.500, 1.500, 1.500 at batches of 2000, 500, 64" in said.err


@pytest.mark.parametrize(("least", "code"), [("0.6", 0), ("0.7", 1)])
def test_a_median_ratio_below_the_asked_one_ends_with_code_1(
    tmp_path, compare, capsys, least, code
):
    fake(tmp_path / "old", side(20.0))
    fake(tmp_path / "new", side(30.0))
    assert compare("--at-least", least) == code
    assert ("the median ratio 0.667 is below 0.7" in capsys.readouterr().err) == bool(code)


def test_a_folder_that_is_no_checkout_is_refused_with_a_hint(tmp_path, compare, capsys):
    fake(tmp_path / "new", side(20.0))
    (tmp_path / "old").mkdir()
    assert compare() == UsageError.exit_code
    said = capsys.readouterr().err
    assert f"this is no checkout of claimtrace [{tmp_path / 'old'}]" in said
    assert "name the top folder of a clone" in said


def test_another_project_is_no_checkout(tmp_path):
    folder = fake(tmp_path / "other", side(1.0))
    assert checkouts.is_checkout(folder)
    (folder / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert not checkouts.is_checkout(folder)
    (folder / "pyproject.toml").write_text("no TOML [")
    assert not checkouts.is_checkout(folder)
    assert checkouts.is_checkout(ROOT)


def test_a_run_that_fails_shows_the_end_of_its_errors(tmp_path, compare, capsys):
    fake(tmp_path / "old", side(1.0, fails="no such model"))
    fake(tmp_path / "new", side(20.0))
    assert compare() == StateError.exit_code
    said = capsys.readouterr().err
    assert "  Traceback\n  ValueError: no such model\n" in said
    assert "the benchmark of the checkout 'before' ended with code 1" in said
    assert "what benchmarks/stretches.py imports" in said


@pytest.mark.parametrize(
    ("other", "said"),
    [({"policies": 11}, "different work: 11 before, 10 after"), ({"more": 1}, "[(2000, 6001)")],
)
def test_different_work_is_not_compared(tmp_path, compare, capsys, other, said):
    fake(tmp_path / "old", side(30.0, **other))
    fake(tmp_path / "new", side(30.0))
    assert compare() == StateError.exit_code
    assert said in capsys.readouterr().err


def test_a_checkout_is_run_by_its_own_environment(tmp_path):
    folder = fake(tmp_path / "old", side(30.0))
    assert Checkout.open("old", folder).python == Path(sys.executable)
    own = folder / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    own.chmod(0o755)
    opened = Checkout.open("old", folder)
    assert opened.python == own
    with opened.started({"warm": 1, "events": 1}) as running:
        assert running.warmed() == 10
        assert [each["batch"] for each in running.measure({64: 100})] == [64]


def test_ctrl_c_ends_the_run_and_what_it_started(tmp_path):
    fake(tmp_path / "old", side(30.0, sleeps=60))
    code = (f"import sys; from pathlib import Path; from benchmarks import __main__, checkouts; "
            f"checkouts.PROGRAM = Path({str(tmp_path / 'program.py')!r}); "
            f"sys.exit(__main__.main(sys.argv[1:]))")  # fmt: skip
    line = [sys.executable, "-c", code, "--beside", str(tmp_path / "old"),
            "--json", str(tmp_path / "beside.json")]  # fmt: skip
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while not (tmp_path / "calls").read_text():  # the first side has begun
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "stopped" in errors
    assert json.loads((tmp_path / "beside.json").read_text())["pairs"] == []
    assert not any(str(tmp_path / "old") in where for where in working_directories())


@pytest.mark.slow
def test_the_program_measures_this_checkout(monkeypatch):
    """The names that the program uses exist here, and one stretch has figures."""
    source = Path(beside.__file__).with_name("stretches.py")
    monkeypatch.setattr(checkouts, "PROGRAM", source)
    with Checkout.open("here", ROOT).started({"warm": 2_000, "events": 3_000}) as running:
        assert running.warmed() > 0
        [rate] = running.measure({500: 1_000})
    assert rate["events"] >= 1_000
    assert rate["cpu_us_per_event"] > 0


def working_directories() -> list[str]:
    """Of all processes that can be looked at."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            found.append(os.readlink(path))
        except OSError:
            continue
    return found


def test_ratios_are_by_turn_and_all_is_their_geometric_mean():
    before = [{"batch": 2000, "cpu_us_per_event": 20.0}, {"batch": 64, "cpu_us_per_event": 90.0}]
    after = [{"batch": 2000, "cpu_us_per_event": 10.0}, {"batch": 64, "cpu_us_per_event": 180.0}]
    found = dict(beside.ratios([Pair(before, after), Pair(before, before)]))
    assert found == {"2000": [2.0, 1.0], "64": [0.5, 1.0], "all": [1.0, 1.0]}
    assert Spread.of(found["2000"]) == (1.25, 1.5, 1.75)


def test_the_message_tells_when_turns_disagree(tmp_path, monkeypatch, capsys):
    def compare(*_):
        pairs = [Pair(rates(20.0), rates(us)) for us in (25.0, 25.0, 16.0)]
        found = {"commits": {"before": "a", "after": "b"}, "cores_of_others": 0.5}
        found |= {"pairs": [pair._asdict() for pair in pairs]}
        found |= {"cpu_us_per_event": {name: each for name, *each in beside.medians(pairs)}}
        return found | {"ratios": {n: Spread.of(r)._asdict() for n, r in beside.ratios(pairs)}}

    monkeypatch.setattr(beside, "compare", compare)
    assert bench.main(["--beside", str(tmp_path), "--at-least", "0.97"]) == 1
    said = capsys.readouterr()
    assert "the median ratio 0.800 is below 0.97; a quarter of the turns is not" in said.err
    assert "other programs took 0.5 cores" in said.out


def test_two_turns_are_too_few(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--beside", ".", "--turns", "2"])
    assert "--turns: at least 3" in capsys.readouterr().err


@pytest.mark.parametrize("module", [beside, checkouts], ids=lambda each: each.__name__)
def test_examples_hold(module):
    assert doctest.testmod(module).failed == 0
