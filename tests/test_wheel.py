"""The wheel has all that `pip install` users need, and works outside of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from claimtrace.rooms import ROOMS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from setuptools.build_meta import build_wheel; import sys; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy of the files that git tracks."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    wheels = tmp_path_factory.mktemp("wheels")
    subprocess.run([sys.executable, "-c", BUILD, str(wheels)], cwd=source, check=True,
                   capture_output=True)  # fmt: skip
    [wheel] = wheels.glob("*.whl")
    into = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(into)
    return into


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """`claimtrace` from the wheel alone."""
    code = "import sys; from cli.__main__ import main; sys.exit(main())"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLAIMTRACE_")}
    environment |= {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    ran = subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, text=True,
                         env=environment, capture_output=True, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_wheel_has_every_room_and_its_files(installed: Path) -> None:
    for room in ROOMS:
        tracked = {path.relative_to(ROOT) for path in (ROOT / room).rglob("*.py")}
        assert {p.relative_to(installed) for p in (installed / room).rglob("*.py")} == tracked
        assert (installed / room / "py.typed").is_file()
    for name in ("claims.csv", "replay_claims.toml"):
        assert (installed / "claimtrace_examples" / name).is_file()
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == set(ROOMS), "nothing else is put beside other people's packages"


def test_the_example_table_is_put_on_a_log_outside_of_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    examples = installed / "claimtrace_examples"
    doctor = run(installed, tmp_path, "--folder", "data", "doctor")
    assert "claimtrace_examples" in doctor
    assert str(installed) in doctor.replace("\n", "")
    ran = run(installed, tmp_path, "--folder", "data", "replay", str(examples / "claims.csv"),
              "--mapping", str(examples / "replay_claims.toml"), "--json")  # fmt: skip
    assert '"written":10' in ran
