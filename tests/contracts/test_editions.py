"""The contract of editions on all journals: one in the terms, a newer one begun by a plan."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from claimtrace.editions import EDITIONS, NEWEST, OLDEST
from claimtrace.errors import StateError
from stream.journal.plan import Plan, encoded_plan
from stream.journal.terms import encoded_terms
from stream.journal.upgrade import begin_edition, edition_in_force
from tests.contracts.journal_grounds import (
    JOURNALS,
    TERMS,
    JournalStore,
    KafkaJournalStore,
)
from tests.contracts.test_journals import a_plan, filled, raised_by

pytestmark = pytest.mark.server  # its journals are on servers that a fixture asks for by name


@pytest.mark.parametrize("edition", [each.number for each in EDITIONS])
def test_the_edition_is_taken_from_the_journal(store: JournalStore, edition: int) -> None:
    begun = msgspec.structs.replace(TERMS, edition=edition)
    store.open(begun).append(a_plan(1))
    again = store.open(msgspec.structs.replace(TERMS, edition=NEWEST + OLDEST - edition))
    assert again.terms == begun
    assert list(again.read(1)) == [a_plan(1)]


def test_a_plan_begins_an_edition_once(store: JournalStore) -> None:
    begun = msgspec.structs.replace(TERMS, edition=OLDEST)
    journal = store.open(begun)
    for number in (1, 2):
        journal.append(a_plan(number))
    journal = store.open(begun)
    assert edition_in_force(journal.terms, journal.read(1)) == OLDEST
    assert begin_edition(journal, journal.terms, 7) == (OLDEST, NEWEST, 3)
    begins = Plan(number=3, ranges=[], model=None, now_ms=7, edition=NEWEST)
    assert journal.append(a_plan(4)) == a_plan(4)
    again = store.open(begun)
    assert list(again.read(1)) == [a_plan(1), a_plan(2), begins, a_plan(4)]
    assert edition_in_force(again.terms, again.read(1)) == NEWEST
    assert begin_edition(again, again.terms, 8) == (NEWEST, NEWEST, 0)
    assert again.next_number == 5
    assert list(again.read(1)) == [a_plan(1), a_plan(2), begins, a_plan(4)]


def test_an_edition_begins_behind_the_plans_of_workers_that_append_meanwhile(several: Any) -> None:
    begun = msgspec.structs.replace(TERMS, edition=OLDEST)
    worker = several.open(begun)
    worker.append(a_plan(1))
    late = several.open(begun)
    read = late.read

    def read_and_lose(number: int) -> list[Plan]:
        found = list(read(number))
        if worker.next_number < 5:
            worker.append(a_plan(worker.next_number))
        return found

    late.read = read_and_lose
    assert begin_edition(late, late.terms, 7) == (OLDEST, NEWEST, 5)
    written = list(several.open(begun).read(1))
    assert written == [*map(a_plan, range(1, 5)), written[4]]
    assert (written[4].edition, written[4].ranges) == (NEWEST, [])
    mine = a_plan(5, now_ms=9)  # the sequencer doesn't know yet
    assert worker.append(mine) == written[4]


class Before(msgspec.Struct, kw_only=True):
    """What a version from before editions wants of the terms, and of a plan."""

    class Terms(msgspec.Struct):
        domain: str

    class Plan(msgspec.Struct):
        number: int


def test_versions_from_before_editions_refuse_a_newer_edition() -> None:
    """Their decoders skip fields that they don't know: the required ones must be missing."""
    plain = msgspec.structs.replace(TERMS, edition=OLDEST)
    assert msgspec.json.decode(encoded_terms(plain), type=Before.Terms).domain == TERMS.domain
    assert b"edition" not in encoded_terms(plain)
    assert msgspec.json.decode(encoded_plan(a_plan(3)), type=Before.Plan).number == 3
    assert b"edition" not in encoded_plan(a_plan(3))
    begins = msgspec.structs.replace(a_plan(3), edition=NEWEST)
    for written, kind in (
        (encoded_terms(TERMS), Before.Terms),
        (encoded_plan(begins), Before.Plan),
    ):
        with pytest.raises(msgspec.ValidationError, match="missing required field"):
            msgspec.json.decode(written, type=kind)


def test_terms_of_a_newer_edition_are_refused(store: JournalStore) -> None:
    store.put(b'{"edition":99,"needs":"9.5.0","terms":{"domain":"auto_claims"},"more":1}')
    with pytest.raises(StateError, match="edition 99") as caught:
        store.open()
    assert "install claimtrace 9.5.0 or newer" in caught.value.hint
    assert "nothing was changed" in caught.value.hint


def test_a_plan_of_a_newer_edition_is_refused(shared: KafkaJournalStore) -> None:
    journal = filled(shared, 3)
    shared.put(b'{"edition":99,"needs":"9.5.0","plan":{"number":4,"like":"nothing"}}')
    for reader in (shared.open(), journal):
        error = raised_by(partial(lambda journal: list(journal.read(1)), reader))
        assert "edition 99" in error.what
        assert "9.5.0" in error.hint


def test_a_plan_of_a_newer_edition_in_a_file_is_refused(tmp_path: Path) -> None:
    store = JOURNALS["file"](tmp_path)
    filled(store, 3)
    written = (tmp_path / "journal").read_bytes()
    store.put(b'{"edition":99,"needs":"9.5.0","plan":{"number":4}}')
    with pytest.raises(StateError, match="edition 99"):
        store.open()
    assert (tmp_path / "journal").read_bytes().startswith(written)
