"""Claims that were put on the log, and whose decisions or dead letters are waited for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from claimtrace.events import Headers, Record

from .answer import Answer

BATCH_HEADER: Final = "x-batch"
"""Header of a claim of a batch: `BATCH:LINE`. A dead letter keeps the headers of its claim."""


class _ClaimId(msgspec.Struct):
    claim_id: str


_claim_id: Final = msgspec.json.Decoder(_ClaimId).decode


def claim_id_of(sealed: bytes) -> str:
    """Return the claim's id in a decision; empty for bytes that aren't one."""
    try:
        return _claim_id(sealed).claim_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


class Awaited:
    """The lines of a batch whose answers are on the log, or will be.

    Args:
        batch: the name of the batch, in the header of its claims.

    >>> waiting = Awaited("b")
    >>> waiting.add(1, "c-1")
    >>> waiting.take([Record("claims.decisions", 0, 0, None, b'{"claim_id":"c-1"}', 0)])
    [('c-1', b'{"claim_id":"c-1"}')]
    >>> len(waiting)
    0
    """

    def __init__(self, batch: str) -> None:
        self._batch = batch
        self._lines: dict[str, set[int]] = {}
        self._ids: dict[int, str] = {}
        self.dead: dict[int, Answer] = {}
        """The answers to lines that became dead letters."""

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: int, claim_id: str) -> None:
        """Wait for the decision on a claim."""
        self._lines.setdefault(claim_id, set()).add(line)
        self._ids[line] = claim_id

    def header(self, line: int) -> tuple[str, bytes]:
        """Return the header of a line's claim."""
        return BATCH_HEADER, f"{self._batch}:{line}".encode()

    def take(self, records: Iterable[Record]) -> list[tuple[str, bytes]]:
        """Take records of the topic of decisions; returns (claim id, decision) of those awaited."""
        found = []
        for record in records:
            value = record.value or b""
            if (claim_id := claim_id_of(value)) and claim_id in self._lines:
                del self._lines[claim_id]
                found.append((claim_id, value))
        return found

    def take_dead(self, records: Iterable[Record]) -> None:
        """Take records of the topic of dead letters."""
        for record in records:
            line = self._line_of(record.headers)
            if line is None or line in self.dead:
                continue
            told = {name: text.decode(errors="replace") for name, text in record.headers}
            self.dead[line] = Answer(
                status="refused", reason=told.get("x-dead-reason", ""),
                field=told.get("x-dead-field", ""), hint=told.get("x-dead-hint", ""),
            )  # fmt: skip
            claim_id = self._ids.get(line, "")
            lines = self._lines.get(claim_id, set())
            lines.discard(line)
            if not lines:
                self._lines.pop(claim_id, None)

    def _line_of(self, headers: Headers) -> int | None:
        for name, text in headers:
            batch, _, line = text.decode(errors="replace").rpartition(":")
            if name == BATCH_HEADER and batch == self._batch and line.isdecimal():
                return int(line)
        return None


def with_decision(answer: Answer, sealed: bytes | None) -> Answer:
    """Return the answer to a line whose decision is on the log.

    >>> with_decision(Answer(status="sent", claim_id="c"), b"{}").status
    'decided'
    """
    if sealed is None:
        return answer
    status = "decided" if answer.status == "sent" else answer.status
    return msgspec.structs.replace(answer, status=status, decision=msgspec.Raw(sealed))
