"""The documents say what is so: generated pages are current, commands exist, links lead on."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from claimtrace.rooms import ROOMS
from cli.__main__ import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def generated():
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]


def test_generated_pages_are_current(generated):
    for name, page in generated.items():
        assert (ROOT / "docs" / name).read_text() == page(), f"docs/{name} is old: run `make docs`"


def commands_in(page: Path) -> list[list[str]]:
    """Every `claimtrace ...` line in a code block."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("claimtrace ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_documents_exist(page):
    for words in commands_in(page):
        command = get_command(app)
        options = {name for p in command.params for name in p.opts}
        rest = words[1:]
        while rest:
            word = rest.pop(0)
            if word.startswith("-"):
                assert word in options, (page.name, words)
                flag = next(p for p in command.params if word in p.opts)
                if not getattr(flag, "is_flag", False):
                    rest.pop(0)
            elif hasattr(command, "commands"):
                assert word in command.commands, (page.name, words)
                command = command.commands[word]
                options = {name for p in command.params for name in p.opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_the_documents_name_exist(page):
    rooms = "|".join((*ROOMS, "tests", "benchmarks", "docs", "deploy"))
    for path in re.findall(rf"`((?:{rooms})/[\w./]+)(?::[^`]*)?`", page.read_text()):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_command_stands_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for name in get_command(app).commands:
        if name not in ("version", "replay", "demo"):
            assert f"claimtrace {name}" in text, name


def test_the_package_list_is_exact():
    import tomllib

    from setuptools import find_packages

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = find_packages(str(ROOT), include=project["packages"]["find"]["include"])
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
    }
    assert sorted(found) == sorted(there)


def test_the_lock_has_hashes_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = re.findall(r"^[a-z0-9][\w.-]*==", lock, re.MULTILINE)
    assert len(pinned) > 50
    assert lock.count("--hash=sha256:") > len(pinned)
