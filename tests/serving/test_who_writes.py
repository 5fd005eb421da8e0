"""Only one route writes claims, and only the door has a writer: read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from claimtrace.rooms import HOME
from serving.adapters.http.app import ENDPOINTS
from serving.roles import Scope

SERVING: Final = HOME / "serving"
WRITERS: Final = {"EmbeddedLog", "Producer", "KafkaSink", "KinesisSink", "LocalSink"}
"""Names of what can append to an input of a log."""
MAY_IMPORT: Final = {
    "adapters/audit_log.py": {"EmbeddedLog"},  # the audit's own file, and topic
    "adapters/doors/kafka.py": {"Producer"},
    "adapters/doors/kinesis.py": {"KinesisSink"},
    "adapters/doors/log_files.py": {"EmbeddedLog"},
}


def writers_in(tree: ast.AST) -> set[str]:
    """Return the writers that a module imports or calls by an attribute."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found & WRITERS


def callers_of(name: str) -> Iterator[str]:
    """Yield the functions of serving that call a method of a name on `door` or `putting`."""
    for path in SERVING.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and node.attr == name:
                    of = node.value
                    owner = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
                    if owner in ("door", "putting", "_door", "_putting"):
                        yield f"{path.relative_to(SERVING).as_posix()}:{function.name}"


def test_only_doors_and_the_audit_can_write_to_a_log() -> None:
    found = {}
    for path in SERVING.rglob("*.py"):
        if writers := writers_in(ast.parse(path.read_text())):
            found[path.relative_to(SERVING).as_posix()] = writers
    assert found == MAY_IMPORT


def test_one_route_has_claims_decided() -> None:
    deciding = [(each.method, each.path) for each in ENDPOINTS if each.scope is Scope.DECIDE]
    assert deciding == [("POST", "/v1/decisions")]
    assert set(callers_of("decide")) == {"adapters/http/routes/decisions.py:decide"}
    putting = set(callers_of("put"))
    assert putting
    assert {each.split(":")[0] for each in putting} == {"adapters/doors/door.py"}


@pytest.mark.parametrize(
    "source",
    [
        "from claimtrace.adapters.embedded_log.log import EmbeddedLog",
        "import confluent_kafka\nconfluent_kafka.Producer({})",
        "def f():\n    from producers.adapters.kafka import KafkaSink",
    ],
)
def test_a_new_writer_is_seen(source: str) -> None:
    assert writers_in(ast.parse(source))


def test_the_rooms_files_are_read() -> None:
    assert len(list(Path(SERVING).rglob("*.py"))) > 50
