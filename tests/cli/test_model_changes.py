"""What a person decides about a version: promote, roll back, reject, compare."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import xgboost

from claimtrace.settings.schema import Settings, TrainingSettings
from cli.__main__ import main
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import write_history
from training.pipeline import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    history = write_history(folder / "offline")
    registry = FolderRegistry(folder / "models", "auto_claims")
    for rounds in (30, 20, 10):
        params = {"rounds": rounds, "max_depth": 2}
        settings = Settings(training=TrainingSettings(params=params, report=rounds == 30))
        train(history.store, registry, settings, at_ms=history.end_ms)
    assert registry.aliases() == {"champion": 1}
    return folder


@pytest.fixture
def three(trained: Path, tmp_path: Path) -> Path:
    """A folder with three versions, of which the first is champion."""
    shutil.copytree(trained / "models", tmp_path / "three" / "models")
    return tmp_path / "three"


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
    path = FolderRegistry(folder / "models", "auto_claims").folder / "000001" / "report.html"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"Quality", b"quality", 1))
    run(folder, "report", "1", code=70)
    run(folder, "check", code=1)
    told = capsys.readouterr()
    assert "the digest is" in told.err
    assert "report.html" in told.out


def as_user(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, name)


def test_a_person_lets_a_failed_gate_pass_and_it_is_shown(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(three, "list")
    listed = capsys.readouterr().out
    assert "pending" in listed
    assert "quality" in listed
    run(three, "approve", "2", "--reason", "x", code=70)
    assert "failed the gate quality" in capsys.readouterr().err
    run(three, "approve", "2", "--reason", "x", "--waive", "bias", code=2)
    assert "didn't fail the gate bias" in capsys.readouterr().err
    run(three, "approve", "2", "--reason", "fairer", "--waive", "quality", "--actor", "eva")
    assert "models promote 2" in capsys.readouterr().out
    run(three, "promote", "2", "--reason", "as agreed")
    assert champion(three) == 2
    capsys.readouterr()
    run(three, "history")
    told = " ".join(capsys.readouterr().out.split())
    assert "fairer (waives quality)" in told
    assert f"eva (unproven), user {getpass.getuser()}@" in told
    run(three, "show", "2")
    told = " ".join(capsys.readouterr().out.split())
    assert "waived by eva (unproven)" in told
    assert "gate kernel" in told
    run(three, "list", "--json")
    found = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in found] == ["approved", "approved", "pending"]
    assert found[1]["waived_gates"] == found[1]["failed_gates"] == ["quality"]
    run(three, "check")


def test_what_was_rejected_or_retired_is_not_promoted(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waived = "--waive", "quality", "--reason", "why"
    run(three, "reject", "2", "--reason", "unfair")
    run(three, "promote", "2", *waived, code=70)
    assert "was rejected by" in capsys.readouterr().err
    run(three, "approve", "2", *waived)
    run(three, "promote", "2", "--reason", "why")
    run(three, "promote", "3", *waived)
    run(three, "retire", "3", "--reason", "old", code=70)
    assert "version 3 is champion" in capsys.readouterr().err
    run(three, "retire", "2", "--reason", "old")
    for act in ("approve", "promote"):
        run(three, act, "2", *waived, code=70)
        assert "retired, for good" in capsys.readouterr().err
    run(three, "rollback", "--reason", "wrong")
    assert "version 2 is retired: passed over" in capsys.readouterr().out
    assert champion(three) == 1


def test_with_four_eyes_two_people_put_a_version_in_charge(
    three: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("CLAIMTRACE_APPROVAL__FOUR_EYES", "true")
    why = "--reason", "why"
    as_user(monkeypatch, "ann")
    run(three, "promote", "2", *why, code=70)
    assert "pending and four eyes are on" in capsys.readouterr().err
    run(three, "approve", "2", *why, "--waive", "quality")
    run(three, "promote", "2", *why, "--actor", "somebody else", code=70)
    assert "ann approved version 2, and four eyes are on" in capsys.readouterr().err
    assert champion(three) == 1
    as_user(monkeypatch, "bob")
    run(three, "promote", "2", *why)
    assert champion(three) == 2
    as_user(monkeypatch, "ann")
    run(three, "rollback", *why)
    assert champion(three) == 1


def test_an_export_is_checked_by_any_tool(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two.zip"
    run(three, "export", "1", "--out", str(one))
    assert sorted(path.name for path in one.iterdir()) == [
        "README.md", "approvals.jsonl", "manifest.json", "model.json", "report.html",
    ]  # fmt: skip
    registry = FolderRegistry(three / "models", "auto_claims")
    (ref, *_) = registry.versions()
    summed = subprocess.run(["sha256sum", "manifest.json", "model.json"], cwd=one,
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    readme = (one / "README.md").read_text()
    for line in summed.splitlines():
        assert line.split()[0] in readme
    assert summed.startswith(ref.digest)
    assert ref.digest in capsys.readouterr().out
    lines = (one / "approvals.jsonl").read_text().splitlines()
    assert {json.loads(line)["version"] for line in lines} == {1}
    assert lines[0] in (registry.folder / "approvals.log").read_text().splitlines()
    booster = xgboost.Booster(model_file=str(one / "model.json"))
    assert booster.num_features() == len(registry.load(1).manifest.features)
    run(three, "export", "1", "--out", str(two))
    first = two.read_bytes()
    two.unlink()
    run(three, "export", "1", "--out", str(two))
    assert two.read_bytes() == first
    with zipfile.ZipFile(two) as archive:
        assert {name.partition("/")[2]: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in one.iterdir()
        }
    run(three, "export", "1", "--out", str(two), code=2)
    assert two.read_bytes() == first
