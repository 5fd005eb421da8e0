"""Airflow, and a validator of the Amazon States Language, as tests need them.

Each is fetched once from a lock file with hashes, apart from the product's environment: Airflow
(200 MB) into an environment of its own, the validator (8 MB) as a package of Node.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.fetch import ServerMissing, fetched_once, run_fetch
from tests.servers.kinesis import node

HERE = Path(__file__).parent
AIRFLOW_PINS = HERE / "airflow.txt"
ASL_LOCK = HERE / "asl" / "package-lock.json"


def airflow_python() -> Path:
    """Return the Python of an environment with Airflow; made if missing (200 MB).

    Raises:
        ServerMissing: the download failed.
    """

    def bring(aside: Path) -> Path:
        environment = aside / "environment"
        run_fetch("airflow", [sys.executable, "-m", "venv", str(environment)])
        run_fetch("airflow", [
            str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet",
            "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(AIRFLOW_PINS),
        ])  # fmt: skip
        return environment

    return fetched_once("airflow", AIRFLOW_PINS.read_bytes(), bring) / "bin" / "python"


def asl_faults(definition: Path) -> str:
    """Return what a validator of the Amazon States Language finds in a file; empty: nothing.

    Raises:
        ServerMissing: Node or npm isn't installed, or the download failed.
    """
    script = (
        _asl_packages() / "node_modules" / "asl-validator" / "dist" / "bin" / "asl-validator.js"
    )
    ran = subprocess.run([node(), str(script), "--json-path", str(definition)],
                         capture_output=True, text=True, check=False)  # fmt: skip
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def _asl_packages() -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ServerMissing("there is no npm to fetch asl-validator with", where="PATH")

    def bring(aside: Path) -> Path:
        packages = aside / "packages"
        shutil.copytree(ASL_LOCK.parent, packages)
        run_fetch("asl-validator", [
            npm, "ci", "--prefix", str(packages), "--ignore-scripts", "--no-audit", "--no-fund",
        ])  # fmt: skip
        return packages

    return fetched_once("asl-validator", ASL_LOCK.read_bytes(), bring)
