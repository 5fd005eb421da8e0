"""Kill -9 at every step: the run goes on, and no half-published version is ever seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.registry.adapters.folder import FolderRegistry
from tests.worlds.pipeline_runs import NAMES, tiny_history
from training.orchestration.runner import POINTS

ROOT = Path(__file__).resolve().parents[3]
TOML = """
[decision]
capacity_per_day = 2.0
[training]
min_frauds = 5
params = { rounds = 6, max_depth = 2 }
"""


@pytest.mark.slow
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_a_run_survives_kill_9_in_every_step_and_publishes_once(tmp_path: Path, every: int) -> None:
    """In every step at one of its points; the long suite has every point and every sync."""
    made = tmp_path / "made"
    tiny_history(made / "offline")
    (made / "claimtrace.toml").write_text(TOML)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.worlds.pipeline_deaths", str(tmp_path), str(every)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = dict(line.split(": ") for line in ran.stdout.splitlines())
    assert int(told["killed at points"]) == len(NAMES) * len(POINTS) // every
    assert int(told["killed in publish"]) >= 8
    for name in ("points", "syncs"):
        registry = FolderRegistry(tmp_path / name / "models", name="auto_claims")
        assert [entry.act for entry in registry.history()] == ["published", "moved"]
        assert registry.verify() == []
    models = [
        FolderRegistry(tmp_path / name / "models", name="auto_claims").load("champion").model_json
        for name in ("points", "syncs")
    ]
    assert models[0] == models[1]
