"""The import contracts of pyproject.toml hold, cover the whole tree, and see a breach."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimtrace.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
NEVER_PURE = {"cli"}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` over the rooms in a folder."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"},
    )  # fmt: skip


def pure_modules(folder: Path) -> Iterator[str]:
    """The largest packages without adapters, and single modules beside adapters."""
    name = ".".join(folder.relative_to(ROOT).parts)
    if not any("adapters" in path.parts for path in folder.rglob("*.py")):
        yield name
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "adapters" and (path / "__init__.py").exists():
            yield from pure_modules(path)
        elif path.suffix == ".py" and path.name not in ("__init__.py", "__main__.py"):
            yield f"{name}.{path.stem}"


def test_the_contracts_hold() -> None:
    ran = lint(ROOT)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert f"Contracts: {len(CONTRACTS['contracts'])} kept, 0 broken." in ran.stdout


def test_the_contracts_cover_every_room_and_every_pure_module() -> None:
    assert CONTRACTS["root_packages"] == list(ROOMS)
    wanted = [m for room in ROOMS if room not in NEVER_PURE for m in pure_modules(ROOT / room)]
    listed = [c["source_modules"] for c in CONTRACTS["contracts"]
              if "adapters" in c["name"] and c["type"] == "forbidden"]  # fmt: skip
    assert len(listed) == 2
    for modules in listed:
        assert sorted(modules) == sorted(wanted)


BREACHES = {
    "featurestore/windows/bad.py": ("import stream.engine", "featurestore"),
    "producers/bad.py": ("def f():\n    from featurestore import fields", "producers"),
    "stream/adapters/bad.py": ("from cli import console", "cli"),
    "stream/engine/bad.py": ("import time", "stream.engine is not allowed to import time"),
    "stream/journal/bad.py": ("from ..worker import driver", "stream.journal"),
    "models/bad.py": ("import random", "models"),
    "training/bad.py": ("from stream.engine import engine", "training"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the contracts say of a copy of the tree with a bad file in many rooms."""
    folder = tmp_path_factory.mktemp("broken")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "pyproject.toml").read_text()
    pure = '"models.artefact",'
    (folder / "pyproject.toml").write_text(text.replace(pure, f'{pure} "models.bad",'))
    for name, (source, _) in BREACHES.items():
        (folder / name).write_text(f"{source}\n")
    ran = lint(folder)
    assert ran.returncode == 1
    return ran.stdout


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_named(name: str, broken: str) -> None:
    module = name.removesuffix(".py").replace("/", ".")
    assert f"{module} -> " in broken
