"""`claimtrace explain` on a folder with three models, a roll-out and several plans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.compat.editions import HERE, copy_of, records_of
from tests.worlds.damaged_folder import Told, ask, contents

EDITION = HERE / "edition_3"


@pytest.fixture(autouse=True)
def _domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EDITION))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of(EDITION, tmp_path_factory.mktemp("explain") / "folder")


def decisions(folder: Path) -> list[dict[str, Any]]:
    parts = records_of(folder / "log.db", "claims.decisions").values()
    return [json.loads(value) for part in parts for value in part]


def explain(folder: Path, *words: object, code: int = 0) -> Told:
    told = ask(folder, "explain", *map(str, words))
    assert told.code == code, told.words
    assert "fault of ours" not in told.err
    return told


def as_json(folder: Path, *words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(explain(folder, *words, "--json").out)
    return found


def test_every_kind_of_decision_is_proven(whole: Path) -> None:
    by_outcome = {(d["outcome"], d.get("arm"), bool(d["model"])): d for d in decisions(whole)}
    for decision in by_outcome.values():
        found = as_json(whole, decision["claim_id"])
        assert found["recomputed"]["same"] is True
        assert found["recomputed"]["differing"] == []
        assert found["chain"]["holds"] is True
        assert found["chain"]["chain"] == decision["chain"]
        assert [f["name"] for f in found["features"] if f.get("agrees") is False] == []
        assert bool(found["model"]) == bool(decision["model"])
        if decision["model"]:
            assert found["reasons"]
            assert found["model"]["refer"] == decision["threshold"]
    assert len(by_outcome) > 2


def test_the_index_is_built_once_and_is_never_needed(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "evidence", ignore_errors=True)
    claim = decisions(folder)[-1]["claim_id"]
    first = explain(folder, claim).out
    before = contents(folder)
    assert any("evidence" in str(name) for name in before)
    assert explain(folder, claim).out == first
    assert contents(folder) == before
    head = next((folder / "evidence").glob("index-*/index.json"))
    head.write_text("{}")  # damaged: built again
    assert explain(folder, claim).out == first
    shutil.rmtree(folder / "evidence")
    shutil.rmtree(folder / "offline")  # all of it from the log
    assert explain(folder, claim).out == first


def test_the_text_says_it_in_words(whole: Path) -> None:
    decision = decisions(whole)[-1]
    told = explain(whole, decision["claim_id"]).out
    for words in (decision["claim_id"], decision["outcome"], "Rules", "Proof", "same hash",
                  "its link holds", "What the features counted"):  # fmt: skip
        assert words in told
    assert max(map(len, told.splitlines())) <= 80


def test_what_if_shows_then_and_now(whole: Path) -> None:
    decision = decisions(whole)[-1]
    claim = as_json(whole, decision["claim_id"])["claim"]
    name = next(n for n, v in claim.items() if n.endswith("_cents") and isinstance(v, int))
    told = explain(whole, decision["claim_id"], "--what-if", f"{name}={claim[name] + 100}").out
    assert "What if" in told
    assert str(claim[name] + 100) in told
    same = as_json(whole, decision["claim_id"], "--what-if", f"{name}={claim[name]}")["what_if"]
    assert (same["outcome"], same["score"]) == (decision["outcome"], decision["score"])


def test_another_day(whole: Path) -> None:
    decision = decisions(whole)[-1]
    assert "another day" in explain(whole, decision["claim_id"], "--at-plan", 1).out
    found = as_json(whole, decision["claim_id"], "--as-of", "1990-01-01")
    assert found["as_of"]["is_decision"] is False
    assert all(not r["rows"] or r["rows"][0].get("is_current")
               for r in found["features"] if r.get("rows"))  # fmt: skip


def test_mistakes(whole: Path) -> None:
    claim = decisions(whole)[-1]["claim_id"]
    assert "no decision on a claim" in explain(whole, "none-such", code=2).words
    assert "no plan 4711" in explain(whole, claim, "--at-plan", 4711, code=2).words
