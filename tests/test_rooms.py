"""One list of rooms: the tree, the package, the image and the type checker agree with it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from claimtrace.rooms import HOME, ROOMS

ROOT = Path(__file__).resolve().parents[1]
NOT_INSTALLED = {"benchmarks", "docs", "tests", "deploy"}


def packages() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {Path(name).parts[0] for name in listed.stdout.split()}


def test_every_package_of_the_tree_is_a_room() -> None:
    assert ROOT == HOME
    assert packages() - NOT_INSTALLED == set(ROOMS)
    for room in ROOMS:
        assert (ROOT / room / "__init__.py").is_file()
        assert (ROOT / room / "py.typed").is_file(), "users' type checkers read the annotations"


def test_the_build_the_types_and_the_image_have_every_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    found = project["setuptools"]["packages"]["find"]["include"]
    assert sorted(found) == sorted(each for room in ROOMS for each in (room, f"{room}.*"))
    assert project["mypy"]["packages"] == list(ROOMS)
    copied = re.findall(r"^COPY (\w+) \1/$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == list(ROOMS)
    sent = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert [name for name in sent if name != "LICENSE"] == list(ROOMS)


def test_doctests_of_every_room_are_run() -> None:
    asked = ["make", "--dry-run", "--always-make", "test"]
    ran = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    [command] = [line for line in ran.stdout.splitlines() if "--doctest-modules" in line]
    assert set(ROOMS) <= set(command.split())
