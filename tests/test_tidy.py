"""The rules of the house that import contracts can't express, over the syntax tree of each file.

Who may import whom stands in pyproject.toml as contracts of import-linter; `test_contracts.py` runs
them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimtrace.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[1]
CLOCKS = {"now", "utcnow", "today", "getenv", "open", "input", "print", "default_rng", "seed"}
FORBIDDEN = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_FOLDER_FILES = 400, 70, 15

OPENERS = re.compile(
    r"(What|How|Who|Whose|It|Its|They|Them|That|Those|These|Such|So|Nothing|Nobody|Some|One that|"
    r"Says|All of|None of|The same|As `)\b"
)
"""Openings of a docstring that a reader who doesn't know the house can't understand."""


def is_edge(path: Path) -> bool:
    """Whether a file may touch network, disk, clock and randomness."""
    inside = path.relative_to(ROOT).parts
    return inside[0] == "cli" or "adapters" in inside or path.name == "__main__.py"


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every absolute import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


def import_faults(name: str, tree: ast.AST) -> Iterator[str]:
    """Absolute imports inside a room, and modules that run what they read."""
    room = name.split("/")[0]
    for line, module in imports(tree):
        top = module.split(".")[0]
        if top == room:
            yield f"{name}:{line} inside a room imports are relative"
        if top in UNSAFE:
            yield f"{name}:{line} {top} is unsafe"


def function_faults(name: str, tree: ast.AST) -> Iterator[str]:
    """Long functions, and arguments that hide a room."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg) and argument.arg in ROOMS:
                yield f"{name}:{argument.lineno} an argument is named {argument.arg}"
        long = (node.end_lineno or 0) - node.lineno + 1
        if long > MAX_FUNCTION_LINES and not isinstance(node, ast.Lambda):
            yield f"{name}:{node.lineno} {node.name} has {long} lines"


def call_faults(name: str, tree: ast.AST, *, edge: bool) -> Iterator[str]:
    """Calls that run text as code, and calls of clocks, files and generators outside of edges."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        is_plain_name = isinstance(node.func, ast.Name)
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if is_plain_name and called in FORBIDDEN:
            yield f"{name}:{node.lineno} calls {called}"
        touches = is_plain_name or called not in ("open", "print", "seed")
        touches = touches and not (called == "default_rng" and node.args)  # a seed is an argument
        if called in CLOCKS and touches and not edge:
            yield f"{name}:{node.lineno} calls {called}"
        draws = not is_plain_name and ast.unparse(node.func).startswith("np.random.")
        seeded = called in ("default_rng", "Generator", "PCG64") and node.args
        if draws and not seeded and not edge:
            yield f"{name}:{node.lineno} calls {ast.unparse(node.func)}"


def docstring_faults(name: str, tree: ast.AST) -> Iterator[str]:
    """First lines of docstrings that begin with a word that means nothing yet."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and OPENERS.match(text):
                line = getattr(node, "lineno", 1)
                yield f"{name}:{line} a docstring begins {text.splitlines()[0][:40]!r}"


def faults(path: Path, source: str) -> list[str]:
    """Everything in a file that breaks a rule."""
    name, tree = path.relative_to(ROOT).as_posix(), ast.parse(source)
    found = [
        *import_faults(name, tree),
        *function_faults(name, tree),
        *call_faults(name, tree, edge=is_edge(path)),
        *docstring_faults(name, tree),
    ]
    if (length := source.count("\n")) > MAX_FILE_LINES:
        found.append(f"{name} has {length} lines")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_keeps_to_the_rules(path: Path) -> None:
    assert faults(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("stream/x.py", "from stream.journal.plan import Plan", "relative"),
        ("stream/x.py", "from datetime import datetime\ndatetime.now()", "calls now"),
        ("stream/x.py", "import numpy as np\nnp.random.default_rng()", "calls default_rng"),
        ("stream/x.py", "import numpy as np\nnp.random.normal()", "calls np.random.normal"),
        ("claimtrace/x.py", "open('a')", "calls open"),
        ("stream/x.py", "def f(*, stream):\n    pass", "an argument is named stream"),
        ("stream/x.py", "f = lambda training: 1", "an argument is named training"),
        ("stream/adapters/x.py", "import pickle", "unsafe"),
        ("stream/adapters/x.py", "eval('1')", "calls eval"),
        ("stream/x.py", "\n" * 401, "has 401 lines"),
        ("stream/x.py", "def f():\n" + "    pass\n" * 70, "f has 71 lines"),
        ("stream/x.py", "def f():\n    '''What is done.'''", "a docstring begins"),
    ],
)
def test_a_breach_is_named(name: str, source: str, said: str) -> None:
    found = faults(ROOT / name, source)
    assert any(said in each for each in found), found


def test_no_folder_of_a_room_is_crowded() -> None:
    folders = {path.parent for path in FILES}
    counts = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    assert {f: n for f, n in counts.items() if n > MAX_FOLDER_FILES} == {}


def test_every_folder_of_a_room_says_what_it_is() -> None:
    for folder in {path.parent for path in FILES}:
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert text, folder
        assert text.splitlines()[0].endswith("."), f"{folder}: one line says what the folder is"


def test_no_test_folder_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
