"""Editions as a person meets them: labels and ids that go wrong in edition 1, and the upgrade."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claimtrace.editions import NEWEST
from cli.__main__ import main
from stream.adapters.embedded.file_journal import read_plans, read_terms
from tests.compat.editions import HERE, copy_of, proofs, records_of

FAULTS = Path(__file__).parents[1] / "worlds" / "faults"
EDITION_1, EDITION_2 = HERE / "edition_1", HERE / "edition_2"


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """Ask a command on a folder for JSON; it must succeed."""

    def asked(folder: Path, *words: str) -> Any:
        capsys.readouterr()
        code = main(["--folder", str(folder), *words, "--json"])
        printed = capsys.readouterr()
        assert code == 0, printed.out + printed.err
        return json.loads(printed.out)

    return asked


def replayed(ask: Any, folder: Path, *pairs: tuple[str, str]) -> Any:
    for table, mapping in pairs:
        ask(folder, "replay", str(FAULTS / table), "--mapping", str(FAULTS / mapping))
    return ask(folder, "stream", "--until-end")["counts"]


def test_an_outcome_that_was_reversed_counts_once(ask: Any, tmp_path: Path) -> None:
    counts = replayed(
        ask,
        tmp_path,
        ("label-reversed-claims.csv", "m_nolab.toml"),
        ("label-reversed-adjudications.csv", "m_adj.toml"),
    )
    assert (counts["claims"], counts["labels"], counts["unmatched_labels"]) == (7, 4, 0)
    query = (
        'select "repair_shop.fraud.rate.180d" as rate, "repair_shop.fraud.count.180d" as frauds '
        "from vectors where claim_id = 'c-0099'"
    )
    assert ask(tmp_path, "offline", "sql", query) == [{"rate": pytest.approx(1 / 3), "frauds": 1.0}]


def test_a_label_of_the_same_millisecond_joins_its_claim(ask: Any, tmp_path: Path) -> None:
    counts = replayed(ask, tmp_path, ("csv-label-delay-zero.csv", "m_delay0.toml"))
    assert (counts["claims"], counts["labels"], counts["unmatched_labels"]) == (10, 10, 0)


def test_no_spelling_of_missing_links_claims(ask: Any, tmp_path: Path) -> None:
    counts = replayed(ask, tmp_path, ("csv-missing-value-spellings.csv", "m.toml"))
    assert (counts["claims"], counts["dead"], counts["referred"]) == (150, 0, 0)


def test_an_upgrade_of_nothing_is_an_error(tmp_path: Path, capsys: Any) -> None:
    assert main(["--folder", str(tmp_path / "none"), "upgrade"]) == 2
    assert "there is no log yet" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_an_old_folder_goes_on_in_its_edition_until_it_is_upgraded(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The further events of edition 2 have revised labels and odd ids."""
    monkeypatch.syspath_prepend(str(EDITION_1))
    folder, bare, old = (copy_of(EDITION_1, tmp_path / name) for name in ("f", "bare", "old"))
    before = proofs(folder / "log.db")
    begun = {each: ask(each, "upgrade") for each in (folder, bare)}
    assert begun[folder] == {"from": 1, "to": NEWEST, "plan": 19}
    assert ask(folder, "upgrade") == {"from": NEWEST, "to": NEWEST, "plan": None}
    assert ask(folder, "verify")["differ"] == 0
    for snapshot in (bare / "state" / "snapshots").glob("*.bin"):
        snapshot.unlink()
    decisions, terms = {}, read_terms(folder / "state" / "journal")
    for each in (folder, bare, old):
        for table in ("contracts", "adjudicated", "claimed"):
            more = EDITION_2 / "more" / table
            ask(each, "replay", f"{more}.csv", "--mapping", f"{more}.toml")
        ask(each, "stream", "--until-end")
        told = ask(each, "verify")
        assert (told["differ"], told["decisions"]) == (
            0,
            before["claims.decisions"]["records"] + 14,
        )
        diff = ask(each, "features", "diff")
        assert (diff["differing"], diff["missing"], diff["extra"]) == (0, 0, 0)
        decisions[each] = records_of_claims(each)
        # the upgrade's plan has the texts, or the first plan of a worker that found none
        plans = list(read_plans(each / "state" / "journal"))
        kept = [plan for plan in plans if plan.texts]
        assert [plan.edition for plan in kept] == ([0] if each == old else [NEWEST])
        assert set(kept[0].texts) == {terms.definitions, terms.rules}
    assert decisions[folder] == decisions[bare], (
        "from a snapshot of edition 1, and from the journal"
    )
    assert decisions[folder] != decisions[old]
    assert decisions[folder][:-14] == decisions[old][:-14]
    told = {each: json.dumps(ask(each, "doctor")) for each in (folder, old)}
    assert f"edition {NEWEST}," in told[folder]
    assert f"edition 1 ({NEWEST} is the newest" in told[old]


def records_of_claims(folder: Path) -> list[bytes]:
    """All decisions, those of further events last."""
    found = [v for part in records_of(folder / "log.db", "claims.decisions").values() for v in part]
    return sorted(found, key=lambda value: json.loads(value)["log_time_ms"])
