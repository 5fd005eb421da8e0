"""A journal that is read while another process appends to it: every whole plan, once, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import NoJournal, StateError
from stream.adapters.embedded.file_journal import FileJournal
from stream.adapters.embedded.journal_reader import JournalReader
from stream.journal.plan import Plan, Range
from tests.worlds.stream_folder import terms

TERMS = terms()


def a_plan(number: int) -> Plan:
    return Plan(number=number, ranges=[Range("claims.filed", 0, number, number + 1)], model=None,
                now_ms=number)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = FileJournal(path, TERMS)
    for number in range(1, 8):
        journal.append(a_plan(number))
    journal.close()
    return path.read_bytes()


@given(st.data())
def test_plans_are_read_once_in_order_however_the_file_grows(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("growing") / "journal"
    first = written.index(b"\n") + 1
    cuts = sorted(data.draw(st.lists(st.integers(first, len(written)), max_size=6)))
    path.write_bytes(written[:first])
    reader = JournalReader(path)
    assert reader.terms == TERMS
    seen: list[int] = []
    for cut in [*cuts, len(written)]:
        path.write_bytes(written[:cut])
        found = [plan.number for plan in reader.read(len(seen) + 1)]
        seen += found
        assert len(seen) == written[:cut].count(b"\n") - 1, "every whole line, and no other"
        assert reader.next_number == len(seen) + 1
    assert seen == list(range(1, 8))


def test_it_begins_anywhere_and_a_bookmark_saves_the_search(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(written)
    reader = JournalReader(path)
    assert [plan.number for plan in reader.read(5)] == [5, 6, 7]
    behind = reader.bookmark(7)
    assert behind == len(written)
    again = JournalReader(path)
    # an offset that is trusted: the plans before it are not looked at
    ends = [at for at, byte in enumerate(written, 1) if byte == 10]
    assert [plan.number for plan in again.read(6, ends[5])] == [6, 7]
    with pytest.raises(StateError, match="plan 5 stands where plan 6 belongs"):
        list(JournalReader(path).read(6, ends[4]))


def test_damage_and_a_file_that_shrank_are_said(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with pytest.raises(NoJournal):
        JournalReader(path)
    path.write_bytes(written[:20])
    with pytest.raises(NoJournal):
        JournalReader(path)
    path.write_bytes(written)
    reader = JournalReader(path)
    assert len(list(reader.read(1))) == 7
    path.write_bytes(written[: len(written) // 2])
    with pytest.raises(StateError, match="shorter"):
        list(reader.read(8))
    damaged = bytearray(written)
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StateError, match="damaged"):
        list(JournalReader(path).read(1))


def test_nothing_is_written(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(written)
    with pytest.raises(AssertionError, match="writes no plan"):
        JournalReader(path).append(a_plan(8))
    assert path.read_bytes() == written
