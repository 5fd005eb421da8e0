"""`claimtrace definitions`: texts from the journal, also when the settings name another domain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.__main__ import main
from stream.adapters.embedded.file_journal import FileJournal, read_plans, read_terms
from stream.journal.plan import Plan
from tests.compat.editions import HERE


def journal_of(edition: int, into: Path) -> Path:
    """A folder with the journal and the log of an edition, under today's settings."""
    kept = HERE / f"edition_{edition}" / "folder"
    (into / "state").mkdir(parents=True)
    shutil.copy(kept / "state" / "journal", into / "state" / "journal")
    shutil.copy(kept / "log.db", into / "log.db")
    return into


def test_old_rules_are_shown_from_the_terms(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = journal_of(4, tmp_path / "f")
    terms = read_terms(folder / "state" / "journal")
    assert set(terms.texts) == {terms.definitions, terms.rules}
    assert main(["--folder", str(folder), "definitions", "show", terms.rules[:9], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == terms.rules
    assert {each[0] for each in told["text"]} == {"Rule"}
    assert main(["--folder", str(folder), "definitions", "show", terms.definitions]) == 0
    assert 'domain "bikes" in' in capsys.readouterr().out


def test_a_journal_of_before_has_them_in_a_later_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = journal_of(3, tmp_path / "f")
    path = folder / "state" / "journal"
    asked = ["--folder", str(folder), "definitions", "show", read_terms(path).rules]
    assert main(asked) == 2
    assert "no text is kept" in capsys.readouterr().err
    texts = read_terms(HERE / "edition_4" / "folder" / "state" / "journal").texts
    journal = FileJournal(path, read_terms(path))
    journal.append(Plan(number=journal.next_number, ranges=[], model=None, now_ms=0, texts=texts))
    journal.close()
    assert main(asked) == 0
    assert "rule " in capsys.readouterr().out


def test_a_text_that_was_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = journal_of(3, tmp_path / "f")
    path = folder / "state" / "journal"
    terms = read_terms(path)
    texts = read_terms(HERE / "edition_4" / "folder" / "state" / "journal").texts
    journal = FileJournal(path, terms)
    journal.append(
        Plan(number=journal.next_number, ranges=[], model=None, now_ms=0,
             texts={terms.rules: texts[terms.definitions]})
    )  # fmt: skip
    journal.close()
    assert len(list(read_plans(path))) == journal.next_number - 1
    assert main(["--folder", str(folder), "definitions", "show", terms.rules]) == 70
    assert "is not the text of this digest" in capsys.readouterr().err
