"""The lineage of a version on the command line: up to its data, down to where it was in charge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claimtrace.settings.schema import Settings, TrainingSettings
from cli.__main__ import main
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import DIGEST, FEATURES, write_history
from training.pipeline import train

DIGESTS = {name: f"{i:064x}" for i, name in enumerate(FEATURES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions of the same data, of which the first is champion again."""
    made = tmp_path_factory.mktemp("lineage")
    history = write_history(made / "offline")
    registry = FolderRegistry(made / "models", "auto_claims")
    for rounds in (30, 10):
        settings = Settings(training=TrainingSettings(params={"rounds": rounds, "max_depth": 2}))
        train(history.store, registry, settings, at_ms=history.end_ms,
              known_definitions={DIGEST: DIGESTS})  # fmt: skip
    for version, at_ms in ((2, 1), (1, 2)):
        registry.move_alias("champion", version, actor="ana", reason="tried",
                            at_ms=history.end_ms + at_ms)  # fmt: skip
    return made


def asked(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["--folder", str(folder), "models", "lineage", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def whats(part: Any) -> list[str]:
    return sorted(node["what"] for node in part["nodes"])


def test_up_to_data_definitions_settings_and_the_judged_fit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = asked(folder, capsys, "1", "--up")
    assert whats(part) == sorted(["version", "training", "fit", "fit", "report", "settings", "code",
                                  "claims", "dataset", "definitions"])  # fmt: skip
    dataset = next(node for node in part["nodes"] if node["what"] == "dataset")
    assert dataset["facts"]["tables"].keys() == {"decisions", "labels", "definitions"}
    manifest = FolderRegistry(folder / "models", "auto_claims").load(1).manifest
    ids = {node["id"] for node in part["nodes"]}
    assert {f"definitions:{DIGEST}", f"claims:{manifest.lineage['split']['claims_digest']}",
            f"fit:{manifest.lineage['judged']['model_digest']}",
            f"fit:{manifest.model_digest}",
            f"settings:{manifest.lineage['settings']['digest']}"} < ids  # fmt: skip


def test_down_from_the_definitions_to_all_times_in_charge(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for start in (f"definitions:{DIGEST}", DIGEST[:9]):
        part = asked(folder, capsys, start, "--down")
        assert [n["facts"]["version"] for n in part["nodes"] if n["what"] == "version"] == [1, 2]
        times = [(n["at_ms"], n["facts"]["until_ms"]) for n in part["nodes"]
                 if n["what"] == "in charge"]  # fmt: skip
        assert len(times) == 3
        assert [end for _, end in times] == [times[1][0], times[2][0], None]


def test_the_tree_fits_a_screen_and_names_each_digest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(folder), "models", "lineage", "2"]) == 0
    shown = capsys.readouterr().out
    for words in ("what it came from", "what came from it", "DerivedFrom fit", "Produced training",
                  "definitions dddddddddddd 6 features", "champion of auto_claims", "by ana: tried",
                  "(above)"):  # fmt: skip
        assert words in shown, shown


def test_events_for_openlineage_are_written_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.jsonl"
    words = ["--folder", str(folder), "models", "lineage", "1", "--openlineage", str(path)]
    assert main(words) == 0
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert {event["job"]["name"] for event in events} == {"auto_claims.train", "auto_claims.moved"}
    assert events[0]["inputs"][0]["namespace"].startswith("file:///")
    capsys.readouterr()
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_show_and_check_say_whether_a_version_fits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(folder), "models", "show", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not the definitions of auto_claims as they are now" in shown
    assert "claim.amount, shop.rate, policy.age, noise.a, noise.b and 1 more" in shown
    assert main(["--folder", str(folder), "models", "check", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["misfits"]
    assert "champion auto_claims/1 doesn't fit" in line
