"""A journal is copied up to a plan, byte for byte, whatever a worker appends meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimtrace.errors import NoJournal, StateError
from stream.adapters.embedded.file_journal import FileJournal, read_plans
from stream.adapters.embedded.journal_copy import copy_journal
from stream.journal.plan import Plan, Range
from tests.worlds.stream_folder import terms


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    made = FileJournal(tmp_path / "journal", terms(1))
    for number in range(1, 6):
        ranges = [Range("claims.filed", 0, number, number + 1)] if number != 4 else []
        made.append(Plan(number=number, ranges=ranges, model=None, now_ms=number))
    made.close()
    return tmp_path / "journal"


@pytest.mark.parametrize(
    ("up_to", "kept"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 4), (5, 5), (9, 5), (None, 5)]
)
def test_plans_after_the_last_with_decisions_are_left_out(
    journal: Path, tmp_path: Path, up_to: int | None, kept: int
) -> None:
    """Plan 4 has no records: it begins an edition, and stays with plan 3."""
    assert copy_journal(journal, tmp_path / "copy", up_to) == kept
    copied = (tmp_path / "copy").read_bytes()
    assert journal.read_bytes().startswith(copied)
    assert [plan.number for plan in read_plans(tmp_path / "copy")] == list(range(1, kept + 1))


def test_a_line_that_is_being_written_is_left_out(journal: Path, tmp_path: Path) -> None:
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines(keepends=True)[-1][:-5])
    assert copy_journal(journal, tmp_path / "copy", None) == 5
    assert (tmp_path / "copy").read_bytes() == whole


def test_no_journal_and_a_damaged_one(journal: Path, tmp_path: Path) -> None:
    with pytest.raises(NoJournal):
        copy_journal(tmp_path / "none", tmp_path / "copy", None)
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    journal.write_bytes(content)
    with pytest.raises(StateError):
        copy_journal(journal, tmp_path / "copy", None)
    assert not (tmp_path / "copy").exists()
