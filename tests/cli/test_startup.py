"""What a command loads at its start: heavy libraries only where the settings ask for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"boto3", "confluent_kafka", "faust", "shap", "xgboost", "httpx", "prometheus_client"}
COMPUTING = {"numpy", "numba", "pyarrow", "pandas", "deltalake", "duckdb", "scipy"}

LOADED = """
import json, sys
from cli.__main__ import main
code = main(sys.argv[1:])
print()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
"""


def loaded(*arguments: str) -> set[str]:
    """The top-level modules in a process that ran a command."""
    ran = subprocess.run([sys.executable, "-c", LOADED, *arguments], cwd=ROOT, text=True,
                         capture_output=True, check=True)  # fmt: skip
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_help_loads_nothing_that_computes() -> None:
    assert not loaded("--help") & (HEAVY | COMPUTING)


@pytest.mark.slow
def test_a_worker_on_the_embedded_log_loads_no_client_of_another_service(tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path / "data"))
    loaded(*folder, "simulate", "--days", "1", "--claims-per-day", "5", "--policies", "100")
    assert not loaded(*folder, "stream", "--until-end") & (HEAVY | {"pandas", "duckdb"})
