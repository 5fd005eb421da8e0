"""Mirrors on the command line: what is missing is said; a failing one fails no training."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.commands.models.mirror import mirror_after_training
from cli.wiring.workspace import Workspace
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "a page": (200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
    "a list": (200, {}, b"[]"),
    "nothing": (200, {}, b"{}"),
    "other shapes": (200, {}, b'{"experiment": 3, "registered_model": [], "model_versions": 7}'),
    "not utf-8": (200, {}, b'{"a": "\xff"}'),
    "deep": (200, {}, b'{"a":' * 5000),
    "a redirect": (302, {"Location": "http://127.0.0.1:9/"}, b""),
    "not found": (404, {}, b"no \x1b[31msuch page"),
    "forbidden": (403, {}, b""),
    "busy": (503, {}, b""),
    "cut off": (200, {"Content-Length": "1000"}, b"{"),
    "endless pages": (
        200, {}, b'{"experiment": {"experiment_id": "1"}, "registered_model": {}, '
        b'"model_versions": [], "next_page_token": "x", "run": {"info": {}}}',
    ),
}  # fmt: skip


@contextmanager
def a_server(status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """A server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    registry = FolderRegistry(tmp_path / "models", "auto_claims")
    registry.publish(draft(), booster()[1], actor="ann", reason="trained", at_ms=1)
    return tmp_path


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_training_survives_whatever_the_server_answers(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_server(*ANSWERS[kind]) as address:
        monkeypatch.setenv("CLAIMTRACE_MIRRORS__MLFLOW", address)
        mirror_after_training(Workspace.open(None, folder))
    told = " ".join(capsys.readouterr().err.split())
    assert "the model is published, but not mirrored to mlflow" in told
    assert "claimtrace models mirror mlflow" in told
    assert "\x1b[31msuch" not in told


@pytest.mark.parametrize("kind", ["a page", "forbidden", "not found", "busy"])
def test_by_hand_a_failing_server_is_an_error_with_its_fix(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_server(*ANSWERS[kind]) as address:
        code = main(["--folder", str(folder), "models", "mirror", "mlflow", "--uri", address])
    told = capsys.readouterr().err
    assert code != 0
    assert "a fault of ours" not in told
    assert "Traceback" not in told
    assert "--uri" in told


def test_a_server_that_is_not_there_and_a_token_that_is_none(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIMTRACE_MIRRORS__MLFLOW", "http://127.0.0.1:9")
    mirror_after_training(Workspace.open(None, folder))
    assert "doesn't answer" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "two\nlines")
    mirror_after_training(Workspace.open(None, folder))
    told = " ".join(capsys.readouterr().err.split())
    assert "doesn't answer" in told
    assert "two" not in told


def test_without_settings_nothing_is_mirrored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror_after_training(Workspace.open(None, folder))
    assert capsys.readouterr().err == ""
