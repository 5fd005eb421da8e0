"""What a person decides about a version: promote, roll back, reject, compare."""

from __future__ import annotations

import getpass
import json
import shutil
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
        params = {"rounds": rounds, "max_depth": 2}
        settings = Settings(training=TrainingSettings(params=params, report=rounds == 30))
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
    run(three, "promote", "2", "--reason", "better", "--actor", "ana")
    run(three, "promote", "3", "--reason", "better still")
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


def test_the_report_of_a_version_is_found_and_copied(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = FolderRegistry(three / "models", "auto_claims").attachment(1, "report.html")
    run(three, "report", "1")
    assert Path(capsys.readouterr().out.strip()).read_bytes() == kept
    copy = tmp_path / "copy.html"
    run(three, "report", "1", "--out", str(copy))
    assert copy.read_bytes() == kept
    run(three, "show", "1")
    assert "claimtrace models report 1" in capsys.readouterr().out
    run(three, "report", "1", "--out", str(copy), code=2)
    run(three, "report", "1", "--out", str(tmp_path / "no" / "copy.html"), code=2)
    run(three, "report", "2", code=2)
    assert "version 2 has no report" in capsys.readouterr().err


def test_an_edited_report_is_refused_and_found_by_check(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(three, folder)
    path = FolderRegistry(folder / "models", "auto_claims").attachment_path(1, "report.html")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"Quality", b"quality", 1))
    run(folder, "report", "1", code=70)
    run(folder, "check", code=1)
    told = capsys.readouterr()
    assert "the digest is" in told.err
    assert "report.html" in told.out
