"""What a person decides about a version: promote, roll back, reject, compare."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from claimtrace.settings.schema import Settings, TrainingSettings
from cli.__main__ import main
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import write_history
from training.pipeline import train


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three versions, of which the first is champion."""
    folder = tmp_path_factory.mktemp("three")
    history = write_history(folder / "offline")
    registry = FolderRegistry(folder / "models", "auto_claims")
    for rounds in (30, 20, 10):
        settings = Settings(training=TrainingSettings(params={"rounds": rounds, "max_depth": 2}))
        train(history.store, registry, settings, at_ms=history.end_ms)
    assert registry.aliases() == {"champion": 1}
    return folder


def run(folder: Path, *words: str, code: int = 0) -> None:
    assert main(["--folder", str(folder), "models", *words]) == code


def champion(folder: Path) -> int | None:
    return FolderRegistry(folder / "models", "auto_claims").aliases().get("champion")


def test_promoted_and_rolled_back_one_by_one(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(three, "rollback", "--reason", "why", code=2)
    assert "no champion before this one" in capsys.readouterr().err
    run(three, "promote", "2", "--reason", "better", "--actor", "ana", code=70)
    assert "--waive quality" in capsys.readouterr().err
    waived = "--waive", "quality"
    run(three, "promote", "2", "--reason", "better", "--actor", "ana", *waived)
    run(three, "promote", "3", "--reason", "better still", *waived)
    assert champion(three) == 3
    run(three, "rollback", "--reason", "referrals doubled")
    assert champion(three) == 2
    run(three, "rollback", "--reason", "still")
    assert champion(three) == 1
    run(three, "rollback", "--reason", "still", code=2)
    capsys.readouterr()
    run(three, "history", "--json")
    moves = [each for each in json.loads(capsys.readouterr().out) if each["act"] == "moved"]
    assert [each["version"] for each in moves] == [1, 2, 3, 2, 1]
    assert moves[1]["actor"] == "ana (unproven)"
    assert moves[2]["actor"].startswith(f"{getpass.getuser()}@")
    assert moves[2]["actor"].endswith(" (unproven)")


def test_the_champion_is_not_rejected(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = champion(three)
    run(three, "reject", str(now), "--reason", "why", code=70)
    assert "is champion" in capsys.readouterr().err
    run(three, "reject", "3", "--reason", "unfair to young drivers")
    run(three, "reject", "9", "--reason", "why", code=2)
    run(three, "reject", "2", "--reason", " ", code=2)
    entry = FolderRegistry(three / "models", "auto_claims").history()[-1]
    assert (entry.act, entry.version, entry.reason) == ("rejected", 3, "unfair to young drivers")


def test_two_versions_are_compared(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(three, "diff", "1", "1")
    assert "differ in nothing" in capsys.readouterr().out
    run(three, "diff", "1", "2", "--json")
    found = {each["what"]: (each["1"], each["2"]) for each in json.loads(capsys.readouterr().out)}
    assert found["version"] == ("1", "2")
    assert found["lineage.rounds"] == ("30", "20")
    assert "features" not in found
    run(three, "diff", "1", "2")
    assert "version 1" in capsys.readouterr().out
    run(three, "diff", "1", "9", code=70)
