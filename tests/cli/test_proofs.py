"""Proofs can't be empty, say what they covered, and find what is missing at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worlds.damaged_folder import (
    ask,
    change_log,
    contents,
    cut_lines,
    drop_newest_batch,
    empty_topic,
)

PROOFS = (("verify",), ("verify", "--chain"), ("models", "check"), ("features", "diff"), ("seal",))
DECISIONS = "claims.decisions"


@pytest.mark.parametrize("words", PROOFS, ids=" ".join)
def test_a_proof_of_nothing_is_an_error_and_makes_nothing(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = ask(tmp_path / "none", *words)
    assert told.code == 2
    assert not told.out
    assert "fix" in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [p for p in PROOFS if p != ("models", "check")], ids=" ".join)
def test_a_proof_before_any_decision_is_an_error(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ask(tmp_path / "new", "simulate", "--days", "1", "--claims-per-day", "5").code == 0
    before = contents(tmp_path / "new")
    told = ask(tmp_path / "new", *words)
    assert told.code != 0
    assert not told.out
    assert contents(tmp_path / "new") == before


def test_a_proof_says_from_where_to_where_it_went(folder):
    for words in (("verify",), ("verify", "--chain")):
        told = ask(folder, *words, "--require", "journal,state,offline,approvals", "--json")
        assert told.code == 0, told.words
        found = told.json
        assert sum(each["decisions"] for each in found["partitions"]) == found["decisions"] > 200
        for each in found["partitions"]:
            assert each["to_position"] - each["from_position"] == each["decisions"] - 1
            assert each["from_ms"] < each["to_ms"]
            assert len(each["head"]) == 64
        assert len(found["head"]) == 64
        assert [each["covered"] for each in found["covered"]] == [True] * 4
        assert "plans 1 to " in ask(folder, *words).words


def drop_decisions(folder: Path) -> None:
    drop_newest_batch(folder, DECISIONS)


def empty_decisions(folder: Path) -> None:
    empty_topic(folder, DECISIONS)


def empty_decisions_and_state(folder: Path) -> None:
    """Only the journal is left to tell that there were any."""
    empty_topic(folder, DECISIONS)
    empty_topic(folder, "claims.dead")
    shutil.rmtree(folder / "state" / "snapshots")
    (folder / "state" / "reached").unlink()
    shutil.rmtree(folder / "offline")


def drop_decisions_and_state(folder: Path) -> None:
    """Only the offline store is left to tell of the newest."""
    drop_newest_batch(folder, DECISIONS)
    shutil.rmtree(folder / "state" / "snapshots")
    (folder / "state" / "reached").unlink()


def cut_approvals(folder: Path) -> None:
    cut_lines(next((folder / "models").glob("*/approvals.log")), -1)


def lose_offline_decisions(folder: Path) -> None:
    shutil.rmtree(folder / "offline" / "decisions")


def lose_newest_offline_commit(folder: Path) -> None:
    log = folder / "offline" / "decisions" / "_delta_log"
    sorted(log.glob("*.json"))[-1].unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "newest decisions dropped": (drop_decisions, "the newest decisions were dropped"),
    "topic emptied": (empty_decisions, "the newest decisions were dropped"),
    "topic and state emptied": (empty_decisions_and_state, "but the log has no decision"),
    "newest dropped, state gone": (drop_decisions_and_state, "of no decision on the log"),
    "approvals cut": (cut_approvals, "the last ones were cut off"),
    "offline decisions gone": (lose_offline_decisions, "decisions before the head of"),
    "newest offline rows gone": (lose_newest_offline_commit, "decisions before the head of"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_chain_finds_what_is_missing_at_the_end(folder, damage):
    change, words = DAMAGES[damage]
    change(folder)
    told = ask(folder, "verify", "--chain")
    assert told.code == 1, told.words
    assert words in told.words
    told = ask(folder, "verify", "--chain", "--json")
    assert told.code == 1
    assert any(words in line for line in told.json["problems"])
    assert ask(folder, "seal").code != 0


@pytest.mark.parametrize("damage", ["newest decisions dropped", "approvals cut",
                                    "offline decisions gone"])  # fmt: skip
def test_a_replay_finds_it_too(folder, damage):
    DAMAGES[damage][0](folder)
    told = ask(folder, "verify", "--json")
    assert told.code != 0, told.words


def test_a_journal_cut_to_its_terms_explains_no_decision(folder):
    cut_lines(folder / "state" / "journal", 1)
    told = ask(folder, "verify", "--json")
    assert told.code == 1
    assert told.json["plans"] == 0
    assert told.json["differ"] == told.json["decisions"] > 200
    assert "that no plan explains" in told.json["first"]


@pytest.mark.parametrize("damage", [lose_offline_decisions, lose_newest_offline_commit])
def test_the_back_fill_finds_vectors_that_are_gone(folder, damage):
    damage(folder)
    told = ask(folder, "features", "diff", "--json")
    assert told.code == 1, told.words
    assert told.json["missing"] > 0
    assert told.json["later"] == 0


def test_a_cut_approvals_log_is_found_by_the_check_of_the_registry(folder):
    cut_approvals(folder)
    told = ask(folder, "models", "check")
    assert told.code == 1
    assert "the last ones were cut off" in told.words
    assert json.loads(ask(folder, "models", "check", "--json").out)["problems"]


def test_the_journal_knows_a_model_that_no_entry_put_in_charge(folder):
    """Also where log and head were cut together."""
    registry = next((folder / "models").glob("*/approvals.log")).parent
    cut_lines(registry / "approvals.log", 1)
    (registry / "approvals.head").unlink()
    told = ask(folder, "models", "check")
    assert told.code == 1
    assert "no entry of the approvals log put it in charge" in told.words


@pytest.mark.parametrize("part", ["offline", "approvals", "state"])
def test_a_part_that_a_copy_leaves_out_is_not_covered(folder, part):
    if part == "state":
        shutil.rmtree(folder / "state" / "snapshots")
        (folder / "state" / "reached").unlink()
    else:
        shutil.rmtree(folder / {"approvals": "models"}.get(part, part))
    told = ask(folder, "verify", "--chain", "--json")
    assert told.code == 0, told.words
    assert [c["part"] for c in told.json["covered"] if not c["covered"]] == [part]
    assert f"{part} not covered:" in ask(folder, "verify", "--chain").words
    assert ask(folder, "verify", "--chain", "--require", part).code == 1
    assert ask(folder, "verify", "--require", "orders").code == 2


def test_a_later_state_continues_its_seal(folder, tmp_path):
    line = ask(folder, "seal").out
    assert line.count("\n") == 1
    assert ask(folder, "seal", "--json").json["seal"].split()[1] == line.split()[1]
    kept = tmp_path / "kept.txt"
    kept.write_text(line)
    told = ask(folder, "models", "promote", "1", "--reason", "once more")
    assert told.code == 0, told.words
    for against in (line, str(kept), line.replace(" ", "\n")):
        for words in (("verify", "--chain"), ("verify",)):
            told = ask(folder, *words, "--against", against)
            assert told.code == 0, told.words
    changed = line.replace("journal=", "journal=1")
    for against in ("claimtrace-seal/2 x=1", line[:-3], changed, "no"):
        assert ask(folder, "verify", "--chain", "--against", against).code == 2


def test_a_seal_tells_what_every_second_place_was_made_to_forget(folder):
    """Decisions, their rows and the state go back to an earlier moment, all of them alike."""
    line = ask(folder, "seal").out
    registry = next((folder / "models").glob("*/approvals.log")).parent
    cut_lines(registry / "approvals.log", -1)
    (registry / "approvals.head").unlink()
    drop_decisions_and_state(folder)
    shutil.rmtree(folder / "offline")
    cut_lines(folder / "state" / "journal", -1)
    assert change_log(folder, "update producer_sequences set sequence = sequence - 1") == 1
    told = ask(folder, "verify", "--chain", "--json")
    assert told.code == 0, "nothing inside of the folder remembers"
    told = ask(folder, "verify", "--chain", "--against", line, "--json")
    assert told.code == 1
    problems = " ".join(told.json["problems"])
    for words in ("seal: journal", "seal: claims.decisions/", "seal: approvals"):
        assert words in problems
