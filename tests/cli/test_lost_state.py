"""A log and a state that don't belong together: `stream` refuses and `doctor` says it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from stream.adapters.embedded.agreement import surely_emitted
from stream.journal.plan import Plan, Range
from tests.compat.editions import further_events
from tests.worlds.damaged_folder import (
    EDITION,
    ask,
    change_log,
    contents,
    cut_lines,
    drop_newest_batch,
)

DECISIONS = "claims.decisions"
CLAIMS = "bikes.claimed"


def refill(folder: Path) -> None:
    """Put other events on an empty log."""
    for words in further_events(EDITION, folder):
        assert ask(folder, *words[2:]).code == 0


def empty_log(folder: Path) -> None:
    (folder / "log.db").write_bytes(b"")


def empty_and_refill(folder: Path) -> None:
    empty_log(folder)
    refill(folder)


def lose_log(folder: Path) -> None:
    (folder / "log.db").unlink()


def cut_inputs(folder: Path) -> None:
    drop_newest_batch(folder, CLAIMS)


def drop_decisions(folder: Path) -> None:
    drop_newest_batch(folder, DECISIONS)


def lose_state(folder: Path) -> None:
    shutil.rmtree(folder / "state")


def cut_journal(folder: Path) -> None:
    cut_lines(folder / "state" / "journal", -2)


def cut_journal_without_snapshots(folder: Path) -> None:
    cut_journal(folder)
    shutil.rmtree(folder / "state" / "snapshots")


def older_log(folder: Path) -> None:
    """As restored from a copy of some plans ago."""
    shutil.copy2(EDITION / "folder" / "log.db", folder / "log.db")


LOSSES: dict[str, tuple[Callable[[Path], None], str]] = {
    "log emptied": (empty_log, "the log was emptied or replaced"),
    "log emptied and refilled": (empty_and_refill, "the log was emptied or replaced"),
    "log gone": (lose_log, "its journal is here"),
    "log shorter": (cut_inputs, f"the log is shorter than the journal says: {CLAIMS}/"),
    "newest decisions dropped": (drop_decisions, "has lost its newest decisions"),
    "state gone": (lose_state, "the journal that explains them is gone"),
    "journal cut": (cut_journal, "but the log holds the effects of plan"),
    "journal cut, no snapshot": (cut_journal_without_snapshots, "holds the effects of plan"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_stream_refuses_and_the_doctor_says_it(folder, loss):
    lose, words = LOSSES[loss]
    lose(folder)
    before = {name: each for name, each in contents(folder).items() if name.startswith("offline")}
    told = ask(folder, "stream", "--until-end")
    assert told.code == 70
    assert words in told.words
    assert "fault of ours" not in told.words
    assert "restore" in told.words
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert ("log.db" in after) == (loss != "log gone")
    told = ask(folder, "doctor")
    assert told.code == 1
    assert words in told.words
    findings = ask(folder, "doctor", "--json").json
    assert any(words in each["found"] and not each["ok"] and each["hint"] for each in findings)


def test_a_whole_folder_is_in_agreement(folder):
    told = ask(folder, "doctor")
    assert told.code == 0, told.words
    assert "they belong together" in told.words
    before = contents(folder)
    told = ask(folder, "stream", "--until-end", "--new-journal")
    assert told.code == 2
    assert "no new journal is needed" in told.words
    assert contents(folder)["log.db"] == before["log.db"]


def test_a_new_journal_sets_aside_what_was_and_decides_anew(folder):
    with EmbeddedLog(folder / "log.db") as log:
        old = {p: [r.value for r in log.read(DECISIONS, p, 0, 10**6)] for p in range(2)}
        records = sum(sum(log.ends(topic)) for topic in log.topics() if "bikes." in topic)
    lose_state(folder)
    told = ask(folder, "stream", "--until-end", "--new-journal", "--json")
    assert told.code == 0, told.words
    assert told.json["counts"]["records"] == records
    for words in (
        f"{sum(map(len, old.values()))} decisions of before stay on the log",
        "offline.before-1",
        "the champion of now (bikes/1)",
        "differ from what was served",
    ):
        assert words in " ".join(told.err.split())
    with EmbeddedLog(folder / "log.db") as log:
        for partition, values in old.items():
            aside = log.read(DECISIONS + ".before-1", partition, 0, 10**6)
            assert [record.value for record in aside] == values
        assert sum(log.ends(DECISIONS)) == sum(map(len, old.values()))
    for words in (("verify", "--require", "journal,state,offline"), ("doctor",),
                  ("features", "diff")):  # fmt: skip
        told = ask(folder, *words)
        assert told.code == 0, told.words
    assert ask(folder, "stream", "--until-end").code == 0
    lose_state(folder)
    assert ask(folder, "stream", "--until-end", "--new-journal").code == 0
    assert (folder / "offline.before-2").is_dir()


def test_a_new_journal_on_a_log_that_was_refilled(folder):
    empty_and_refill(folder)
    told = ask(folder, "stream", "--until-end", "--new-journal", "--json")
    assert told.code == 0, told.words
    assert told.json["counts"]["claims"] > 0
    assert (folder / "state.before-1" / "journal").exists()
    told = ask(folder, "verify", "--json")
    assert told.code == 0, told.words
    assert told.json["differ"] == 0


def test_the_doctor_reads_a_sample_of_the_log(folder):
    assert change_log(folder, "update batches set crc = crc + 1") > 0
    told = ask(folder, "doctor")
    assert told.code == 1
    assert "doesn't match its checksum" in told.words


def test_a_plan_that_only_begins_an_edition_has_no_effects_to_miss(folder):
    assert ask(folder, "upgrade").code == 0
    told = ask(folder, "doctor")
    assert told.code == 0, told.words
    assert ask(folder, "verify", "--chain").code == 0
    told = ask(folder, "stream", "--until-end")
    assert told.code == 0, told.words
    told = ask(folder, "verify")
    assert told.code == 0, told.words


def test_only_the_last_plan_with_records_may_lack_its_effects():
    def plan(number: int, records: int = 1) -> Plan:
        ranges = [Range("t", 0, 0, records)] if records else []
        return Plan(number=number, ranges=ranges, model=None, now_ms=0)

    assert surely_emitted([]) == 0
    assert surely_emitted([plan(1)]) == 0
    assert surely_emitted([plan(1), plan(2)]) == 1
    assert surely_emitted([plan(1), plan(2), plan(3, 0), plan(4, 0)]) == 1
    assert surely_emitted([plan(1), plan(2), plan(3, 0), plan(4)]) == 2
