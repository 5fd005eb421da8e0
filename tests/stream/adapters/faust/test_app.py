"""The Faust app without a broker: safe settings, a watchdog, and the exit at any error."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import ConfigError, StateError, UsageError
from claimtrace.settings.loading import load_settings
from claimtrace.settings.schema import Settings
from cli.commands.run import faust as command_module
from cli.transports import faust as fausting
from cli.wiring.workspace import Workspace
from stream.adapters.faust import app as runner
from stream.adapters.faust.app import Watchdog, fatal

ROOT = Path(__file__).resolve().parents[4]
KAFKA = {"CLAIMTRACE_SOURCE": "kafka://127.0.0.1:1,127.0.0.1:2"}


def app_settings(**variables: str) -> dict[str, Any]:
    pytest.importorskip("faust", reason="the extra faust is not installed")
    from stream.adapters.faust.client import app_settings

    return app_settings(load_settings(None, {**KAFKA, **variables}))


def ask(words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own: Faust's import reads the command line."""
    return subprocess.run([sys.executable, "-c", words], env={**os.environ, **variables}, cwd=ROOT,
                          text=True, capture_output=True, check=False)  # fmt: skip


def test_faust_is_imported_by_nobody_else() -> None:
    found = ask("import sys, stream.adapters.faust.app, cli.transports.faust as f\n"
                "print('faust' in sys.modules, 'aiokafka' in sys.modules)")  # fmt: skip
    assert found.stdout == "False False\n", found


def test_the_app_is_safe_whatever_the_environment_says(tmp_path: Path) -> None:
    pytest.importorskip("faust", reason="the extra faust is not installed")
    found = ask(
        "from cli.transports.faust import app\n"
        "c = app.conf\n"
        "print(c.id, c.processing_guarantee.value, c.broker)\n"
        "print(c.web_enabled, c.topic_allow_declare)\n"
        "print(c.stream_wait_empty, c.key_serializer, c.value_serializer, c.datadir.parent.name)\n"
        "app.conf.web_enabled = True\n"
        "print(app.boot_strategy._should_enable_web())\n"
        "print([each.concurrency for each in app.agents.values()])",
        **KAFKA, CLAIMTRACE_FOLDER=str(tmp_path), PROCESSING_GUARANTEE="exactly_once",
        BROKER_URL="kafka://elsewhere", TOPIC_ALLOW_DECLARE="1", FAUST_DATADIR="elsewhere",
    )  # fmt: skip
    assert found.stdout.splitlines() == [
        "claimtrace-faust at_least_once [URL('kafka://127.0.0.1:1'), URL('kafka://127.0.0.1:2')]",
        "False False",
        "False raw raw state",
        "False",
        "[1]",
    ], found.stderr
    assert not (tmp_path / "state").exists(), "nothing is written before the worker starts"


def test_a_wrong_setting_ends_it_in_plain_words(tmp_path: Path) -> None:
    pytest.importorskip("faust", reason="the extra faust is not installed")
    found = ask("from cli.transports.faust import app", CLAIMTRACE_FOLDER=str(tmp_path))
    assert found.returncode == UsageError.exit_code
    assert "Faust reads Kafka only" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_worker_that_cannot_decompress_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faust", reason="the extra faust is not installed")
    from stream.adapters.faust import client as faust_transport

    monkeypatch.setattr(faust_transport, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="lz4, snappy or zstd without cramjam"):
        app_settings()


def test_logins_become_fausts() -> None:
    made = app_settings(
        CLAIMTRACE_SECURITY__PROTOCOL="sasl_ssl", CLAIMTRACE_SECURITY__USERNAME="alice",
        CLAIMTRACE_SECURITY__PASSWORD="secret", CLAIMTRACE_KAFKA__SESSION_TIMEOUT="6s",
    )  # fmt: skip
    login = made["broker_credentials"]
    assert (login.username, login.password, login.mechanism.value) == (
        "alice", "secret", "SCRAM-SHA-512",
    )  # fmt: skip
    assert login.ssl_context.check_hostname
    assert "secret" not in repr(made)
    assert made["broker_session_timeout"] == 6.0
    assert app_settings()["broker_credentials"] is None
    with pytest.raises(ConfigError, match="needs a password"):
        app_settings(
            CLAIMTRACE_SECURITY__PROTOCOL="sasl_ssl", CLAIMTRACE_SECURITY__USERNAME="alice"
        )


def test_a_long_piece_of_work_ends_the_process() -> None:
    ended = threading.Event()
    said: list[str] = []

    def end(words: str) -> None:
        said.append(words)
        ended.set()

    watchdog = Watchdog(0.05, SystemClock(), end)
    for _ in range(20):
        with watchdog.watching():
            pass
    assert not ended.wait(0.2)
    with watchdog.watching():
        assert ended.wait(5.0)
    assert said[0] == "no step forward for 0.05 s"


@pytest.mark.parametrize("error", [ValueError("bad"), StateError("bad"), SystemExit(0)])
def test_nothing_gets_out_of_the_loop(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(runner.os, "_exit", codes.append)
    with fatal():
        raise error
    assert codes == [70]
    assert "Traceback" in caplog.text
    with pytest.raises(asyncio.CancelledError), fatal():
        raise asyncio.CancelledError
    assert codes == [70]


def test_the_command_becomes_a_faust_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faust", reason="the extra faust is not installed")
    run: list[Any] = []
    monkeypatch.setattr(command_module.os, "execve", lambda *arguments: run.append(arguments))
    parent = SimpleNamespace(params={"folder": Path("here"), "config": Path("c.toml"),
                                     "source": "kafka://a:1"})  # fmt: skip
    asked: Any = SimpleNamespace(obj=Workspace(Settings(source="kafka://a:1")), parent=parent)
    command_module.faust(asked, ["--without-mingle"])
    (_, command, environment) = run[0]
    assert command[1:] == ["-P", "-m", "faust", "-A", "cli.transports.faust:app", "worker",
                           "-l", "warn", "--without-web", "--without-mingle"]  # fmt: skip
    assert environment["CLAIMTRACE_FOLDER"] == "here"
    assert environment["CLAIMTRACE_SOURCE"] == "kafka://a:1"
    assert environment[fausting.CONFIG_VARIABLE] == "c.toml"
    with pytest.raises(UsageError, match="Kafka only"):
        command_module.faust(SimpleNamespace(obj=Workspace(Settings()), parent=None), [])


@pytest.mark.parametrize("text", ["soon", "5"])
def test_a_wrong_deadline_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faust", reason="the extra faust is not installed")
    for name, value in {**KAFKA, fausting.GIVE_UP_VARIABLE: text}.items():
        monkeypatch.setenv(name, value)
    made: Callable[[], Any] = fausting.make
    with pytest.raises(ConfigError) as raised:
        made()
    assert raised.value.where == fausting.GIVE_UP_VARIABLE
