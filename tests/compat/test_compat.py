"""Folders that earlier editions wrote are read, proven and continued, to the same bytes.

Each `edition_N` holds what its `make.py` left; see there. Nothing in it is ever written again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.compat.editions import (
    HERE,
    MORE,
    OUTPUTS,
    Answer,
    ask,
    copy_of,
    further_events,
    proofs,
    records_of,
)

pytestmark = pytest.mark.slow

EDITIONS = sorted(HERE.glob("edition_*"))
DECISIONS = "claims.decisions"


class Lived(NamedTuple):
    """A copy of an edition's folder, what the commands on it answered, and what was on its log."""

    edition: Path
    expected: dict[str, Any]
    answers: dict[str, Answer]
    opened: dict[str, dict[str, int | str]]
    """The outputs on the log after `stream` had nothing new to do."""
    replayed: dict[str, dict[str, int | str]]
    """The outputs of a replay into a new log."""
    continued: dict[str, dict[str, int | str]]
    rebuilt: dict[str, dict[str, int | str]]
    """The outputs after the further events: from the old snapshot, and from the journal alone."""

    def told(self, name: str) -> Any:
        """What a command printed as JSON, when it succeeded."""
        answer = self.answers[name]
        assert answer.code == 0, answer.out + answer.err
        return json.loads(answer.out)


@pytest.fixture(scope="module", params=EDITIONS, ids=lambda path: path.name)
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """The folder in this version's hands, from opening it to further events."""
    edition, aside = request.param, tmp_path_factory.mktemp("compat")
    folder = copy_of(edition, aside / "folder")

    def on(where: Path, *words: str) -> list[str]:
        return ["--folder", str(where), *words, "--json"]

    first = {
        "verify": on(folder, "verify", "--into", str(aside / "again")),
        "chain": on(folder, "verify", "--chain"),
        "diff": on(folder, "features", "diff"),
        "doctor": on(folder, "doctor"),
        "models": on(folder, "models"),
        "nothing new": on(folder, "stream", "--until-end"),
    }
    answers = dict(zip(first, ask(edition, aside, list(first.values())), strict=True))
    opened, replayed = proofs(folder / "log.db"), proofs(aside / "again" / "log.db")

    bare = aside / "bare"
    shutil.copytree(folder, bare)
    shutil.rmtree(bare / "state" / "snapshots")
    second = dict(zip(MORE, further_events(edition, folder), strict=True))
    second |= {
        "more": on(folder, "stream", "--until-end"),
        "verify more": on(folder, "verify"),
        "diff more": on(folder, "features", "diff"),
    }
    answers |= dict(zip(second, ask(edition, aside, list(second.values())), strict=True))
    third = [*further_events(edition, bare), on(bare, "stream", "--until-end")]
    answers["bare"] = ask(edition, aside, third, CLAIMTRACE_STREAM__BATCH_RECORDS="7")[-1]
    expected = json.loads((edition / "expected.json").read_text())
    return Lived(
        edition, expected, answers, opened, replayed,
        proofs(folder / "log.db"), proofs(bare / "log.db"),
    )  # fmt: skip


def test_there_are_editions():
    assert EDITIONS


@pytest.mark.parametrize("edition", EDITIONS, ids=lambda path: path.name)
def test_the_folder_is_as_it_was_written(edition):
    """Whatever else fails here, this tells a changed folder from a changed product."""
    expected = json.loads((edition / "expected.json").read_text())
    assert proofs(edition / "folder" / "log.db") == expected["folder"]
    state = edition / "folder" / "state"
    assert len((state / "journal").read_bytes().splitlines()) - 1 == expected["sizes"]["plans"]
    snapshots = sorted((state / "snapshots").iterdir())
    assert len(snapshots) == expected["sizes"]["snapshots"] > 0
    newest = int(snapshots[-1].name.partition(".")[0].rpartition("-")[2])
    assert newest < expected["sizes"]["plans"], "no plan is left to be run again"


@pytest.mark.parametrize("edition", EDITIONS, ids=lambda path: path.name)
def test_the_folder_holds_something_of_everything(edition):
    log = edition / "folder" / "log.db"
    values = [v for part in records_of(log, DECISIONS).values() for v in part]
    decisions = [json.loads(value) for value in values]
    assert len(decisions) >= 200
    assert {d["outcome"] for d in decisions} == {"approve", "review", "refer"}
    scored = [d for d in decisions if d["model"]]
    assert 30 <= len(scored) < len(decisions), "by rules alone, and by a model"
    assert any(d["reasons"] for d in scored)
    assert any(reason.get("counted") for d in scored for reason in d["reasons"])
    assert any(d["rules"] for d in decisions)
    flags = {flag for d in decisions for flag in d["flags"]}
    assert {"late", "unseen_category", "placeholder_id"} <= flags
    missing = [d for d in decisions if None in d["features"]]
    assert 0 < len(missing) < len(decisions)
    for topic in OUTPUTS:
        assert any(records_of(log, topic).values()), topic


def test_the_folder_of_edition_3_has_a_roll_out():
    log = HERE / "edition_3" / "folder" / "log.db"
    values = [v for part in records_of(log, DECISIONS).values() for v in part]
    rolled = [d for d in map(json.loads, values) if d["schema_version"] == 2]
    assert {d["arm"] for d in rolled} == {"champion", "canary"}
    assert any(d["reasons"] for d in rolled if d["arm"] == "canary")
    assert any(o["outcome"] != d["outcome"] for d in rolled for o in d["shadow"])


def test_the_folder_of_edition_4_has_both_thresholds_and_reasons_for_reviews():
    folder = HERE / "edition_4" / "folder"
    values = [v for part in records_of(folder / "log.db", DECISIONS).values() for v in part]
    decisions = [json.loads(value) for value in values]
    assert {d["schema_version"] for d in decisions} == {3}
    scored = [d for d in decisions if d["score"] is not None]
    assert all(0 < d["review_threshold"] <= d["threshold"] <= 1 for d in scored)
    # thresholds alone give the band, under a roll-out those of the arm
    assert all((d["score"] >= d["review_threshold"]) == (d["band"] != "low") for d in scored)
    assert {d["arm"] for d in decisions if "arm" in d} == {"champion", "canary"}
    assert len({d["review_threshold"] for d in scored}) > 1
    explained = {d["outcome"] for d in scored if d["reasons"]}
    assert explained == {"review", "refer"}
    assert all(d["review_threshold"] is None for d in decisions if d["model"] is None)
    terms = (folder / "state" / "journal").read_bytes().splitlines()[0]
    assert set(json.loads(terms.rpartition(b"\t")[0])["terms"]["texts"]) == {
        d[name] for d in decisions for name in ("definitions", "rules_digest")
    }


def test_every_decision_is_replayed_to_the_same_bytes(lived):
    count = lived.expected["folder"][DECISIONS]["records"]
    told = lived.told("verify")
    assert (told["decisions"], told["differ"], told["first"]) == (count, 0, "")
    assert told["plans"] == lived.expected["sizes"]["plans"]
    assert count > 0
    assert lived.replayed == lived.expected["folder"]


def test_the_chain_holds(lived):
    told = lived.told("chain")
    count = lived.expected["folder"][DECISIONS]["records"]
    assert (told["decisions"], told["broken"], told["problems"]) == (count, [], [])


@pytest.mark.parametrize("proof", ["verify", "chain"])
def test_a_proof_says_what_it_covered(lived, proof):
    """Folders from before have no head of the approvals: it isn't covered, and that is no error."""
    told = lived.told(proof)
    count = lived.expected["folder"][DECISIONS]["records"]
    assert sum(each["decisions"] for each in told["partitions"]) == count
    covered = {each["part"]: each["covered"] for each in told["covered"]}
    has_head = any((lived.edition / "folder" / "models").glob("*/approvals.head"))
    assert covered == {"journal": True, "state": True, "offline": True, "approvals": has_head}


def test_served_vectors_are_the_same_from_the_log(lived):
    told = lived.told("diff")
    assert told["vectors"] == lived.expected["folder"][DECISIONS]["records"]
    assert told["values"] > told["vectors"] * 20
    assert (told["differing"], told["missing"], told["extra"]) == (0, 0, 0)


def test_the_doctor_and_the_registry_find_nothing_wrong(lived):
    assert all(finding["ok"] for finding in lived.told("doctor"))
    aliases = [each["alias"] for each in lived.told("models")]
    assert sorted(aliases) == [""] * (len(aliases) - 1) + ["champion"]


def test_a_stream_has_nothing_to_do_and_writes_nothing(lived):
    told = lived.told("nothing new")
    assert told["counts"]["records"] == 0
    assert told["replayed"] > 0, "the plans after the snapshot"
    assert lived.opened == lived.expected["folder"]


def test_a_stream_goes_on_from_the_old_state(lived):
    written = sum(lived.told(name)["written"] for name in MORE)
    counts = lived.told("more")["counts"]
    assert counts["records"] == written > 0
    before, after = (lived.expected[name] for name in ("folder", "after_more"))
    more = after[DECISIONS]["records"] - before[DECISIONS]["records"]
    assert counts["claims"] == counts["scored"] == more > 0
    assert lived.continued == after
    told = lived.told("verify more")
    assert (told["decisions"], told["differ"]) == (after[DECISIONS]["records"], 0)
    told = lived.told("diff more")
    assert told["vectors"] == after[DECISIONS]["records"]
    assert (told["differing"], told["missing"], told["extra"]) == (0, 0, 0)


def test_without_snapshots_the_journal_leads_to_the_same_bytes(lived):
    """In smaller batches too; only the order of drift records hangs on where a batch ends."""
    told = lived.told("bare")
    assert told["replayed"] > lived.told("nothing new")["replayed"]
    assert told["counts"] == lived.told("more")["counts"]
    for topic in set(OUTPUTS) - {"claims.drift"}:
        assert lived.rebuilt[topic] == lived.expected["after_more"][topic]
