"""One command for all: parts are run, figures are kept, tables and picture are made of them."""

from __future__ import annotations

import doctest
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as bench
from benchmarks import command, machine, outputs, plot, processes, tables
from benchmarks.processes import Watched, stretch
from claimtrace.errors import StateError

ROOT = Path(__file__).resolve().parents[2]
RATE = {"batch": 500, "events_per_s": 2e4, "events_per_core_s": 2.5e4, "cpu_us_per_event": 40.0,
        "broker_us_per_event": 8.0, "p50_ms": 16.0, "p99_ms": 150.0}  # fmt: skip
LOAD = {"share": 0.9, "planned_per_s": 18_000.0, "p50_ms": 9.0, "p99_ms": 80.0, "p999_ms": 120.0,
        "cpu_us_per_event": 44.0, "broker_us_per_event": 9.0, "behind_s": 2.0}  # fmt: skip
ALONE = {"claims": 9, "p50_ms": 1.0, "p99_ms": 1.5}
SIZE = {"live_entities": 10_068, "live_entity_events": 16_465, "cpu_us_per_event": 50.0,
        "bytes_per_entity_event": 30.6, "process_mb": 45.0, "restart_s": 9.5}  # fmt: skip
FIGURES = {
    "throughput": {"rates": [RATE], "peak_mb": 700.0, "snapshot_cpu_ms": 250.0,
                   "floors_us": {"floor": 5.0, "with_reasons": 6.0, "xgboost": 77.0}},
    "stages": {"500": {"decode": 4.0, "features": 9.0}, "2000": {"decode": 3.0, "features": 8.0}},
    "lone": {"decided": ALONE, "explained": ALONE, "forest_row_us": 4.9, "shap_row_us": 85.0},
    "explain": [{"rows": 1, "us_per_row": 85.0}, {"rows": 64, "us_per_row": 10.2}],
    "latency": dict.fromkeys(
        ("local", "kafka"), RATE | {"beside_injector_per_s": 2e4, "loads": [LOAD]}
    ),
    "human": {
        log: {"loads": [LOAD | {"claims_per_s": 100, "claims": 5_800}]}
        for log in ("local", "kafka")
    },
    "kafka": {"produced_per_s": 1e5,
              "pairs": [{"local": RATE, "kafka": RATE, "journal_ms": {"p50": 1.0, "p99": 4.0}}]},
    "kinesis": {"read_us": {"typed": 7.0, "boto3": 25.0}, "write_us": {"typed": 9.0, "boto3": 18.0},
                "line": [RATE]},
    "scale": [SIZE, SIZE | {"live_entities": 1_006_945, "cpu_us_per_event": 60.0}],
    "peers": {"found": {"claimtrace": RATE, "quix": RATE | {"times_ours": 20.0}},
              "less": {"quix": "four of five entities"}},
}  # fmt: skip
FOUND = {
    "machine": {"processor": "P", "cores": 2, "memory_gb": 24.0, "system": "Linux", "python": "3",
                "packages": {"numpy": "2"}},
    "parts": {name: {"measured_at": "2026-01-01", "seconds": 9, "cores_of_others": 0.05,
                     "figures": each} for name, each in FIGURES.items()},
}  # fmt: skip


def test_every_part_has_a_module_and_a_table():
    assert list(bench.PARTS) == list(tables.TABLES) == list(FIGURES)
    for module in bench.PARTS.values():
        assert (ROOT / "benchmarks" / f"{module}.py").exists()


def test_every_table_is_whole():
    made = tables.rendered(FOUND)
    assert list(made) == ["machine", *bench.PARTS]
    for table in made.values():
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len(lines) >= 3
        for block in re.split(r"\n\n", table):
            assert len({line.count("|") for line in block.splitlines() if line[:1] == "|"}) <= 1
    assert "fell behind" in made["latency"]
    assert "| 1,006,945 |" in made["scale"]
    assert "| 1,006,945 | 9.5 s |" in made["scale"]


def test_the_page_has_a_place_for_every_table():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    places = re.findall(r"<!-- table: (\w+) -->\n.*?\n<!-- end -->", page, re.DOTALL)
    assert set(places) == {"machine", *bench.PARTS}
    filled = tables.filled(page, FOUND)
    assert all(table in filled for table in tables.rendered(FOUND).values())
    assert tables.filled(filled, FOUND) == filled


def test_the_picture_has_a_point_for_every_size():
    drawn = ElementTree.fromstring(plot.svg(FIGURES["scale"]))
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f"{space}circle")) == 2
    words = [each.text for each in drawn.iter(f"{space}text")]
    assert {"20,000", "16,667", "10,000", "1,000,000"} <= set(words)


def test_parts_keep_each_others_figures(tmp_path, monkeypatch, capsys):
    path = tmp_path / "bench.json"
    monkeypatch.setattr(bench, "PARTS", {"lone": "lone", "explain": "explain_rate"})
    monkeypatch.setattr(bench.subprocess, "Popen", pretend(json.dumps(FIGURES["lone"])))
    assert bench.main(["--only", "lone", "--models", str(tmp_path), "--json", str(path)]) == 0
    assert "| referred and explained | 1.00 ms |" in capsys.readouterr().out
    monkeypatch.setattr(bench.subprocess, "Popen", pretend(json.dumps(FIGURES["explain"])))
    assert bench.main(["--only", "explain", "--models", str(tmp_path), "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert {name: each["figures"] for name, each in found["parts"].items()} == {
        name: FIGURES[name] for name in ("lone", "explain")
    }
    monkeypatch.setattr(bench.subprocess, "Popen", pretend("", code=6))
    assert bench.main(["--only", "lone", "--models", str(tmp_path), "--json", str(path)]) == 1
    assert json.loads(path.read_text()) == found


def pretend(said: str, code: int = 0) -> type:
    class Ran:
        returncode = code

        def __init__(self, line: list[str], **_: object) -> None:
            assert line[1:2] == ["-m"]

        def communicate(self) -> tuple[str, str]:
            return said, ""

    return Ran


def test_ctrl_c_ends_the_part_that_runs(tmp_path):
    models, path = tmp_path / "models", tmp_path / "bench.json"
    models.mkdir()
    line = [sys.executable, "-m", "benchmarks", "--only", "lone", "--models", str(models),
            "--json", str(path)]  # fmt: skip
    slow = tmp_path / "sitecustomize.py"  # the part hangs as soon as it starts
    slow.write_text("import sys, time\nif 'benchmarks.lone' in sys.orig_argv: time.sleep(60)\n")
    running = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               env={"PYTHONPATH": str(tmp_path), "PATH": ""})  # fmt: skip
    assert running.stderr is not None
    assert "== lone" in running.stderr.readline()
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "stopped" in errors
    assert not path.exists()


def test_a_stretch_is_from_the_warm_up_to_the_end(tmp_path):
    done = iter([0, 3, 12, 15, 40, 41])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        watched = Watched("it", running, tmp_path / "errors")
        took = stretch(watched, lambda: next(done), warm=10, end=40, seconds=9.0)
        running.communicate(b"\n")
    assert took.done == 28
    assert took.wall_s >= processes.LOOK_EVERY_S
    assert took.cpu_s >= 0


def test_a_program_that_ends_is_named_with_its_last_words(tmp_path):
    (tmp_path / "errors").write_text("Traceback\nValueError: no such model\n")
    running = subprocess.Popen([sys.executable, "-c", ""])
    running.wait()
    with pytest.raises(StateError, match=r"it ended after 0 results: .*no such model"):
        stretch(Watched("it", running, tmp_path / "errors"), lambda: 0, 1, 2, 5.0)


def test_the_command_line_gives_options_by_name(tmp_path, capsys):
    def measure(models, *, policies, logs):
        return {"models": str(models), "policies": policies, "logs": logs, "failed": {}}

    told = ["--models", str(tmp_path), "--policies", "7", "--logs", "a", "--json"]
    options = {"policies": (5, "how many"), "logs": (["a", "b"], "which")}
    command.command("A part.", measure, print, told, **options)
    found = json.loads(capsys.readouterr().out)
    assert found == {"models": str(tmp_path), "policies": 7, "logs": ["a"], "failed": {}}


def test_a_part_that_fails_says_why_and_ends_with_its_code(tmp_path, capsys):
    def measure(models):
        raise StateError("no figures", where="there")

    with pytest.raises(SystemExit) as ended:
        command.command("A part.", measure, print, ["--models", str(tmp_path)])
    assert ended.value.code == StateError.exit_code
    assert "no figures" in capsys.readouterr().err


MODULES = [command, machine, outputs, plot, processes, tables]


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.__name__)
def test_examples_hold(module):
    assert doctest.testmod(module).failed == 0
