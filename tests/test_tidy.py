"""The rules for rooms, over the syntax tree: who imports whom, and who may touch the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "claimtrace": set[str](),
    "featurestore": {"claimtrace"},
    "producers": {"claimtrace"},
    "training": {"claimtrace", "featurestore"},
    "stream": {"claimtrace", "featurestore", "producers"},
    "serving": {"claimtrace", "featurestore", "stream"},
    "examples": {"claimtrace", "featurestore"},
}
ROOMS = [room for room in MAY_IMPORT if (ROOT / room).is_dir()]
CLIENTS = """
    asyncio boto3 botocore confluent_kafka ctypes deltalake duckdb faust fcntl ftplib getpass glob
    http httpx importlib io logging mmap multiprocessing os pathlib prometheus_client random redis
    requests resource rich secrets select shap shutil signal socket sqlite3 ssl subprocess sys
    tempfile threading time tomli_w typer urllib uuid xgboost
"""
WORLD = set(CLIENTS.split())
CLOCKS = {"now", "utcnow", "today", "getenv", "open", "input", "print", "default_rng", "seed"}
ALLOWED = {
    "claimtrace/__init__.py": "the start-up guard looks at where the rooms lie",
    "claimtrace/buffers/sha_kernels.py": "ctypes: addresses of OpenSSL's functions",
    "claimtrace/ids.py": "uuid: a constant namespace, nothing is drawn",
    "models/booster.py": "xgboost: the reference of the kernels' self-check, and their stand-in",
    "featurestore/definitions/domain.py": "importlib: a domain is a Python module",
    "training/fitting/fitters.py": "xgboost: the fit itself",
}
FORBIDDEN = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def is_edge(path: Path) -> bool:
    """Whether a file may touch network, disk, clock and randomness."""
    inside = path.relative_to(ROOT).parts
    return bool({"adapters", "commands"} & set(inside)) or path.name in (
        "__main__.py",
        "commands.py",
    )


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every absolute import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def complaints(path: Path, source: str) -> list[str]:
    """What a file does that its room may not."""
    name = path.relative_to(ROOT).as_posix()
    room, tree = name.split("/")[0], ast.parse(source)
    is_root = name.startswith(("cli/__main__.py", "claimtrace/commands"))
    said = []
    for line, module in imports(tree):
        top = module.split(".")[0]
        if top in MAY_IMPORT and top != room and top not in MAY_IMPORT[room] and not is_root:
            said.append(f"{name}:{line} {room} imports {top}")
        if top == room and not is_root:
            said.append(f"{name}:{line} inside a room imports are relative")
        if top in UNSAFE:
            said.append(f"{name}:{line} {top} is unsafe")
        touches = top in WORLD or module in ("numpy.random", "datetime.datetime.now")
        if touches and not is_edge(path) and name not in ALLOWED:
            said.append(f"{name}:{line} {top} outside of adapters")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            said += [f"{name}:{a.lineno} an argument is named {a.arg}" for a in ast.walk(node.args)
                     if isinstance(a, ast.arg) and a.arg in MAY_IMPORT]  # fmt: skip
            long = (node.end_lineno or 0) - node.lineno + 1
            if long > 70 and not isinstance(node, ast.Lambda):
                said.append(f"{name}:{node.lineno} {node.name} has {long} lines")
        if isinstance(node, ast.Call):
            called = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if isinstance(node.func, ast.Name) and called in FORBIDDEN:
                said.append(f"{name}:{node.lineno} calls {called}")
            plain = isinstance(node.func, ast.Name) or called not in ("open", "print", "seed")
            plain = plain and not (called == "default_rng" and node.args)  # a seed is an argument
            if (
                called in CLOCKS
                and plain
                and not is_edge(path)
                and not is_root
                and name not in ALLOWED
            ):
                said.append(f"{name}:{node.lineno} calls {called}")
    if (length := source.count("\n")) > 400:
        said.append(f"{name} has {length} lines")
    return said


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_keeps_to_its_room(path: Path) -> None:
    assert complaints(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("claimtrace/x.py", "from stream.journal.plan import Plan", "claimtrace imports stream"),
        ("featurestore/x.py", "import training", "featurestore imports training"),
        (
            "producers/x.py",
            "def f():\n    from featurestore import keys",
            "producers imports featurestore",
        ),
        ("training/x.py", "import stream.engine.engine", "training imports stream"),
        ("stream/x.py", "import serving", "stream imports serving"),
        ("stream/adapters/x.py", "from training import fitters", "stream imports training"),
        ("stream/x.py", "from stream.journal.plan import Plan", "relative"),
        ("stream/x.py", "import time", "outside of adapters"),
        ("stream/x.py", "from pathlib import Path", "outside of adapters"),
        ("stream/x.py", "from datetime import datetime\ndatetime.now()", "calls now"),
        ("stream/x.py", "import numpy as np\nnp.random.default_rng()", "calls default_rng"),
        ("claimtrace/x.py", "open('a')", "calls open"),
        ("claimtrace/models/x.py", "import xgboost", "outside of adapters"),
        ("stream/x.py", "def f(*, stream):\n    pass", "an argument is named stream"),
        ("stream/x.py", "f = lambda training: 1", "an argument is named training"),
        ("stream/adapters/x.py", "import pickle", "unsafe"),
        ("stream/adapters/x.py", "eval('1')", "calls eval"),
        ("stream/x.py", "\n" * 401, "has 401 lines"),
        ("stream/x.py", "def f():\n" + "    pass\n" * 70, "f has 71 lines"),
    ],
)
def test_a_breach_is_named(name: str, source: str, said: str) -> None:
    found = complaints(ROOT / name, source)
    assert any(said in each for each in found), found


def test_no_test_folder_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
