"""The pipeline from Airflow and Step Functions: both have today's steps, and run them."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.__main__ import app
from cli.wiring.pipeline_runs import PipelineRuns
from tests.conftest import _without
from tests.servers.fetch import ServerMissing
from tests.servers.orchestrators import AIRFLOW_PINS, ASL_LOCK, airflow_python, asl_faults
from tests.worlds.pipeline_runs import NAMES, tiny_history
from training.pipeline import STEPS

ROOT = Path(__file__).resolve().parents[1]
DAG = ROOT / "deploy" / "airflow" / "claimtrace_training.py"
MACHINE = ROOT / "deploy" / "step_functions" / "claimtrace_training.asl.json"
TOML = """
[decision]
capacity_per_day = 2.0
[training]
min_frauds = 5
params = { rounds = 6, max_depth = 2 }
"""


def machine() -> dict[str, Any]:
    return json.loads(MACHINE.read_bytes())


def task() -> dict[str, Any]:
    return machine()["States"]["InOrder"]["ItemProcessor"]["States"]["Step"]


def check_command(words: list[str]) -> None:
    """The words of a command line of ours: commands and options exist."""
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {name for each in command.params for name in each.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_dag_of_airflow_has_the_steps_in_their_order() -> None:
    tree = ast.parse(DAG.read_text())
    [steps] = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STEPS"
    ]
    assert list(steps) == [name for name, _ in STEPS]
    [line] = re.findall(r"bash_command=f'(.*)'", DAG.read_text())
    check_command(shlex.split(line)[1:])


def test_the_state_machine_has_the_steps_in_their_order() -> None:
    states = machine()["States"]
    assert states["Steps"]["Result"] == [name for name, _ in STEPS]
    assert states["InOrder"]["MaxConcurrency"] == 1
    container = task()["Parameters"]["Overrides"]["ContainerOverrides"][0]
    check_command(re.findall(r"'([\w-]+)'", container["Command.$"]))
    named = {state.get("Next") for state in states.values()} - {None}
    named |= {catch["Next"] for state in states.values() for catch in state.get("Catch", [])}
    assert named | {machine()["StartAt"]} == set(states)


def test_the_locks_have_hashes_and_name_no_host() -> None:
    pins = AIRFLOW_PINS.read_text()
    assert "://" not in pins
    assert len(re.findall(r"^[a-z0-9][\w.-]*==", pins, re.MULTILINE)) > 100
    lock = json.loads(ASL_LOCK.read_bytes())
    for name, package in lock["packages"].items():
        assert not name or package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package


@pytest.mark.long
def test_a_validator_accepts_the_state_machine_and_refuses_a_broken_one(tmp_path: Path) -> None:
    try:
        assert asl_faults(MACHINE) == ""
    except ServerMissing as missing:
        _without(missing)
    broken = tmp_path / "broken.json"
    for right, wrong, said in (
        ('"Next": "Done"', '"Next": "Dome"', "Dome"),
        ('"MaxConcurrency": 1', '"MaxConcurrency": "one"', "invalid"),
        ("$$.Map.Item.Value", "$$[", "invalid"),
    ):
        assert right in MACHINE.read_text()
        broken.write_text(MACHINE.read_text().replace(right, wrong, 1))
        assert said in asl_faults(broken)


@pytest.mark.long
def test_airflow_runs_the_pipeline(tmp_path: Path) -> None:
    """With a real Airflow: the DAG is loaded, and each of its tasks does its step of one run."""
    try:
        python = airflow_python()
    except ServerMissing as missing:
        _without(missing)
    folder = tmp_path / "data"
    tiny_history(folder / "offline")
    (folder / "claimtrace.toml").write_text(TOML)
    environment = {
        **os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_FOLDER": str(DAG.parent),
        "CLAIMTRACE_FOLDER": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip

    def airflow(*arguments: str) -> str:
        ran = subprocess.run([str(python), "-m", "airflow", *arguments], env=environment,
                             cwd=tmp_path, text=True, capture_output=True, check=False)  # fmt: skip
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        return ran.stdout

    airflow("db", "migrate")
    airflow("dags", "test", "claimtrace_training")
    [record] = PipelineRuns(folder / "pipeline").records()
    assert record.run.startswith("manual__")
    assert (record.state, record.starts, record.promoted) == ("done", len(NAMES), True)
    assert all(row.state == "done" and not row.cached for row in record.steps)
