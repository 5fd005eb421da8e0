"""The journal file of another process, read on from where the last read ended.

The worker that owns the file appends to it meanwhile: a last line without its end isn't read yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from claimtrace.errors import NoJournal, StateError

from ...journal.plan import Plan
from ...journal.terms import terms_of
from .file_journal import decoded_plan, whole_lines


class JournalReader:
    """A `Journal` that is only read; bookmarks are offsets in the file.

    Args:
        path: the file.

    Raises:
        NoJournal: no plan was ever written there.
        StateError: the file is damaged, or another version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = self._read_from(0)
        end = content.find(b"\n") + 1
        if not end:
            raise NoJournal.at(str(path))
        self.terms = terms_of(whole_lines(content[:end], str(path))[1][0], str(path))
        self._first = end
        self._next_number, self._offset = 1, end
        self._bookmarks: dict[int, int] = {}

    @property
    def next_number(self) -> int:
        """The number after that of the last plan read."""
        return self._next_number

    def append(self, plan: Plan) -> Plan:
        """Refuse to write.

        Raises:
            AssertionError: always.
        """
        raise AssertionError(f"a follower writes no plan, not {plan.number}")

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:
        """Yield the plans from a number on, as far as the file has them now.

        Raises:
            StateError: a line is damaged or missing, or the file was replaced by a shorter one.
        """
        if from_number != self._next_number:
            known = bookmark or self._bookmarks.get(from_number - 1, 0)
            self._next_number, self._offset = (from_number, known) if known else (1, self._first)
        while lines := self._following():
            for line in lines:
                plan = decoded_plan(line, self._path)
                if plan.number != self._next_number:
                    raise StateError(
                        f"plan {plan.number} stands where plan {self._next_number} belongs",
                        where=str(self._path), hint="restore the file from a copy",
                    )  # fmt: skip
                self._next_number += 1
                self._offset += len(line) + _CHECKSUM_BYTES
                self._bookmarks = {plan.number: self._offset}
                if plan.number >= from_number:
                    yield plan
                    if self._next_number != plan.number + 1:
                        return  # somebody read on, or anew, in between

    def bookmark(self, number: int) -> int:
        """Return the offset behind a plan that was read just now; 0 for others."""
        return self._bookmarks.get(number, 0)

    def _following(self) -> list[bytes]:
        return whole_lines(self._read_from(self._offset), str(self._path))[1]

    def _read_from(self, offset: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < offset:
                    raise StateError(
                        "the journal is shorter than what was read of it", where=str(self._path),
                        hint="it was restored or set aside: start the follower again",
                    )  # fmt: skip
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            raise NoJournal.at(str(self._path)) from None


_CHECKSUM_BYTES = 10
"""Tab, eight hex digits and the end of the line behind a plan's own bytes."""
