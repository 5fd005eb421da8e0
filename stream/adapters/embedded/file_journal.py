"""The journal of one machine: a synced file with the terms in its first line, then a plan a line.

    {"terms": ...}\t<checksum>
    {"number": 1, ...}\t<checksum>

A last line that a crash cut short is removed when the file is opened; it was never acknowledged. A
damaged line before the end is an error: nothing may be replayed past it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from claimtrace.adapters.files.atomic_files import sync_folder
from claimtrace.errors import NoJournal, StateError, StoreUnavailable

from ...journal.plan import Plan, encoded_plan, plan_in
from ...journal.terms import Terms, encoded_terms, terms_of


class FileJournal:
    """Plans in a file; only the process that holds the lock of the state folder opens it.

    Args:
        path: the file; it is made if it doesn't exist.
        terms: written to a new file, compared with those of an existing one, which are `terms`.

    Raises:
        StateError: the file is damaged, or was begun under other terms.
    """

    def __init__(self, path: Path, terms: Terms) -> None:
        self._path = path
        lines = self._open()
        self.terms = terms_of(lines[0], str(path)) if lines else terms
        if not lines:
            self._write(encoded_terms(terms))
        else:
            self.terms.check_same(terms, str(path))
        self._last = decoded_plan(lines[-1], path).number if len(lines) > 1 else 0

    @property
    def next_number(self) -> int:
        """The number of the next plan."""
        return self._last + 1

    def append(self, plan: Plan) -> Plan:
        """Write a plan and sync it to the disk; returns the plan, as there is no other writer."""
        assert plan.number == self.next_number, "one writer, numbers in order"
        self._write(encoded_plan(plan))
        self._last = plan.number
        return plan

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:  # noqa: ARG002
        """Yield the plans from a number on, in order."""
        return read_plans(self._path, from_number)

    def bookmark(self, number: int) -> int:  # noqa: ARG002
        """Return 0: bookmarks aren't used, as a file is searched quickly."""
        return 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> list[bytes]:
        """Open the file for appending; returns its whole lines.

        A last line that a crash cut short is removed before the next write.
        """
        content = self._path.read_bytes() if self._path.exists() else b""
        whole, lines = whole_lines(content, str(self._path))
        self._file = self._path.open("ab", buffering=0)
        self._size, self._torn = whole, whole < len(content)
        sync_folder(self._path.parent)
        return lines

    def _write(self, body: bytes) -> None:
        line = body + b"\t%08x\n" % zlib.crc32(body)
        try:
            if self._torn:
                self._file.truncate(self._size)
            # a full disk writes a part of the line: until all of it is synced the end counts as
            # torn, and a retry removes that part first
            self._torn = True
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
            self._size, self._torn = self._size + len(line), False
        except OSError as error:
            raise StoreUnavailable(
                f"the journal can't be written: {error.strerror}",
                where=str(self._path),
                hint="free disk space; the same plan is tried again",
            ) from error


def read_plans(path: Path, from_number: int = 1) -> Iterator[Plan]:
    """Yield the plans of a journal file, without opening it for writing.

    Raises:
        StateError: a line is damaged or missing.
    """
    _, lines = whole_lines(path.read_bytes(), str(path))
    for number, line in enumerate(lines[from_number:], from_number):
        plan = decoded_plan(line, path)
        if plan.number != number:
            raise StateError(
                f"plan {plan.number} follows plan {number - 1}",
                where=str(path),
                hint="restore the file from a copy: a line is missing",
            )
        yield plan


def read_terms(path: Path) -> Terms:
    """Return the terms under which a journal was begun.

    Raises:
        NoJournal: there is none.
        StateError: the file is damaged, or another version wrote it.
    """
    lines = whole_lines(path.read_bytes(), str(path))[1] if path.exists() else []
    if not lines:
        raise NoJournal.at(str(path))
    return terms_of(lines[0], str(path))


def decoded_plan(line: bytes, path: Path) -> Plan:
    """Decode a line.

    Raises:
        StateError: it is no plan, or one of an edition that this version doesn't know.
    """
    try:
        return plan_in(line, str(path))
    except msgspec.DecodeError as error:
        raise StateError(
            f"a line of the journal is no plan: {error}",
            where=str(path),
            hint="restore the file from a copy, or install the version that wrote it",
        ) from error


def whole_lines(content: bytes, where: str) -> tuple[int, list[bytes]]:
    """Return the length in bytes of all whole lines, and their bodies without checksums.

    Raises:
        StateError: a line is damaged.
    """
    lines: list[bytes] = []
    at = 0
    while (end := content.find(b"\n", at)) >= 0:
        body, _, checksum = content[at:end].rpartition(b"\t")
        if checksum != b"%08x" % zlib.crc32(body):
            raise StateError(
                f"line {len(lines) + 1} of the journal is damaged",
                where=where,
                hint="restore the file from a copy; plans after it can't be trusted",
            )
        lines.append(body)
        at = end + 1
    return at, lines
