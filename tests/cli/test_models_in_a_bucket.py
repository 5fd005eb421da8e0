"""The commands on a registry in a bucket, the champion that a worker takes from it, and backups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import StoreUnavailable
from claimtrace.settings.schema import Settings
from cli.__main__ import main
from cli.wiring import champion as champion_wiring
from cli.wiring.champion import Champion
from cli.wiring.workspace import Workspace
from models.registry.adapters.s3 import S3Registry
from tests.contracts.test_registries import bucket_of
from tests.servers.ministack import Ministack
from tests.worlds.models import a_model

WHO = {"actor": "ana", "reason": "because"}


@pytest.fixture
def url(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> str:
    return f"s3://{bucket_of(ministack, monkeypatch)}/models"


@pytest.fixture
def registry(url: str) -> S3Registry:
    registry = S3Registry(url, "auto_claims")
    for number in (1, 2):
        registry.publish(*a_model(number), at_ms=number, **WHO)
    return registry


def test_every_command_works_on_a_bucket(
    registry: S3Registry, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("CLAIMTRACE_MODELS", url)
    folder = tmp_path / "folder"

    def run(*words: str, code: int = 0) -> str:
        assert main(["--folder", str(folder), *words]) == code
        told = capsys.readouterr()
        return told.out + told.err

    why = "--reason", "why"
    run("models", "approve", "2", *why)
    run("models", "promote", "1", *why)
    run("models", "promote", "2", *why)
    run("models", "rollback", *why)
    run("models", "reject", "2", *why)
    assert registry.aliases() == {"champion": 1}
    listed = json.loads(run("models", "list", "--json"))
    assert [each["state"] for each in listed] == ["approved", "rejected"]
    assert "champion" in run("models", "show", "1")
    assert "was version 1" in run("models", "live-at", "9999-01-01").replace("\n", " ")
    run("models", "diff", "1", "2")
    run("models", "history")
    run("models", "export", "1", "--out", str(tmp_path / "one"))
    assert "nothing was changed: 7 entries, 2 versions" in run("models", "check")
    assert f"{url}/auto_claims" in run("models", "show", "9", code=70)
    assert "auto_claims/1" in run("doctor")
    assert not (folder / "models").exists()
    folder.mkdir(exist_ok=True)
    copied = " ".join(run("backup", str(tmp_path / "copy")).split())
    assert f"not in it: the models {url}" in copied
    monkeypatch.setenv("CLAIMTRACE_MODELS", "s3://no-such-bucket/models")
    told = run("models", "list", code=2)
    assert "no such bucket" in told
    assert "fix" in told
    told = run("doctor", code=1)
    assert "no such bucket" in told


class Clock(SystemClock):
    """A clock that stands still until it is set."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def looking(
    registry: S3Registry, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Champion, Clock, list[str]]:
    workspace = Workspace(Settings(folder=str(tmp_path), models=url))
    workspace.clock, told = Clock(), list[str]()
    monkeypatch.setattr(Workspace, "scorer_of", lambda _, ref: Loaded(workspace))
    return Champion(workspace, told.append), workspace.clock, told


class Loaded:
    """A model that fits the domain."""

    notes = ()

    def __init__(self, workspace: Workspace) -> None:
        self.manifest = self
        self.definitions = workspace.domain.definitions_digest


def looked(champion: Champion, clock: Clock) -> Any:
    """Let the next look be due and end; returns what the champion is then."""
    clock.now_s += champion_wiring.LOOK_EVERY_S
    champion()
    thread = champion._look._thread  # type: ignore[attr-defined]
    if thread is not None:  # else the look has ended already
        thread.join()
    return champion()


def test_a_worker_takes_a_new_champion_from_the_bucket_without_waiting(
    registry: S3Registry, looking: tuple[Champion, Clock, list[str]]
) -> None:
    champion, clock, told = looking
    assert champion() is None
    registry.move_alias("champion", 1, at_ms=3, **WHO)
    assert champion() is None, "not asked again before it is due"
    found = looked(champion, clock)
    assert found == registry.alias("champion")
    assert champion() == found
    registry.move_alias("champion", 2, at_ms=4, **WHO)
    assert looked(champion, clock).version == 2
    assert told == []


def test_while_the_bucket_is_away_the_model_stays(
    registry: S3Registry, looking: tuple[Champion, Clock, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    registry.move_alias("champion", 1, at_ms=3, **WHO)
    champion, clock, told = looking
    assert champion() is not None

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(S3Registry, "alias", away)
        for _ in range(3):
            assert looked(champion, clock).version == 1
    assert told == ["the registry can't be read, the model stays: away"]
    registry.move_alias("champion", 2, at_ms=4, **WHO)
    assert looked(champion, clock).version == 2


def test_at_the_start_the_bucket_is_waited_for(
    looking: tuple[Champion, Clock, list[str]], registry: S3Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A worker that doesn't know the champion must not decide without it."""
    registry.move_alias("champion", 1, at_ms=3, **WHO)
    champion, _, _ = looking

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    for kind, name in ((S3Registry, "alias"), (Workspace, "scorer_of")):
        with monkeypatch.context() as patched:
            patched.setattr(kind, name, away)
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    champion()
    found = champion()
    assert found is not None
    assert found.version == 1
