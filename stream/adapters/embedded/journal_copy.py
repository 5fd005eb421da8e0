"""A copy of a journal file up to what a copy of the log holds, while a worker appends to it."""

from __future__ import annotations

from pathlib import Path

from claimtrace.adapters.files.atomic_files import write_file
from claimtrace.errors import NoJournal

from ...journal.plan import plan_in
from .file_journal import whole_lines


def copy_journal(path: Path, target: Path, up_to: int | None) -> int:
    """Copy a journal, byte for byte, up to a plan.

    A plan is written before its records' decisions, so a journal that is read after the log has
    every plan whose decisions the log holds. Plans after these are left out: the next worker makes
    them again; except those without records, which begin an edition.

    Args:
        path: the journal.
        target: a new file.
        up_to: the last plan whose decisions are on the log's copy; None: the log isn't copied, so
            the whole journal is.

    Returns:
        The number of the last plan that was copied; 0 when there is none.

    Raises:
        NoJournal: there is none.
        StateError: a line is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NoJournal.at(str(path)) from None
    size, lines = whole_lines(content, str(path))
    last = len(lines) - 1
    if up_to is not None and up_to < last:
        while up_to < last and not plan_in(lines[up_to + 1], str(path)).ranges:
            up_to += 1  # it begins an edition, and has no decisions
        last, size = up_to, 0
        for _ in range(up_to + 1):  # the first line has the terms
            size = content.index(b"\n", size) + 1
    write_file(target, content[:size])
    return max(0, last)
