"""The proof of an audit: each writer's chain, and a line that seals all of them for later."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from claimtrace.errors import UsageError

from .event import Head, SealedEvent, continues, head_of, read_event

MOST_PROBLEMS: Final = 20
"""Problems that are kept; the others are counted."""
_HEAD: Final = re.compile(r"([A-Za-z0-9_.-]{1,100}):(\d{1,15}):([0-9a-f]{64})", re.ASCII)


@dataclass(slots=True)
class Trail:
    """The audit as read so far: events are added in each writer's order.

    Attributes:
        expected: heads that were sealed earlier (`read_seal`), to compare with.
        heads: the last event of each writer.
        problems: what is wrong, in words, at most `MOST_PROBLEMS`.
        wrong: how many problems there are.
        events: how many events were read.
    """

    expected: dict[str, Head] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    wrong: int = 0
    events: int = 0

    def add(self, value: bytes | None, where: str) -> SealedEvent | None:
        """Take the next record; return its event, or None when it is none.

        Args:
            value: the record's bytes.
            where: topic, partition and position, for the problem.
        """
        event = read_event(value)
        if event is None or value is None:
            self._complain(f"{where}: this is no event of the audit")
            return None
        before = self.heads.get(event.writer, Head())
        if not continues(value, event, before):
            self._complain(
                f"{where}: event {event.sequence} of the writer {event.writer} doesn't continue "
                f"its event {before.sequence}: one was edited, removed or put in"
            )
        self.heads[event.writer] = head = head_of(value, event)
        sealed = self.expected.get(event.writer)
        if sealed is not None and sealed.sequence == head.sequence and sealed != head:
            self._complain(f"{where}: event {head.sequence} isn't the one that was sealed")
        self.events += 1
        return event

    def finish(self) -> None:
        """Check at the end that no writer of `expected` ends before the head that was sealed."""
        for writer, sealed in sorted(self.expected.items()):
            reached = self.heads.get(writer, Head()).sequence
            if reached < sealed.sequence:
                self._complain(
                    f"the writer {writer} has {reached} events of {sealed.sequence} that were "
                    "sealed: the last ones were cut off"
                )

    @property
    def seal(self) -> str:
        """All heads in one line, `WRITER:SEQUENCE:CHAIN` with commas, to be kept outside."""
        return ",".join(
            f"{name}:{head.sequence}:{head.chain}" for name, head in sorted(self.heads.items())
        )

    def _complain(self, problem: str) -> None:
        self.wrong += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def in_order(values: Iterable[tuple[bytes | None, str]]) -> list[tuple[bytes | None, str]]:
    """Return records in the order of each writer's sequence; those that are no events come first.

    The events of a writer lie in several partitions, by the claim that they are about.
    """

    def place(pair: tuple[bytes | None, str]) -> tuple[str, int]:
        event = read_event(pair[0])
        return (event.writer, event.sequence) if event is not None else ("", 0)

    return sorted(values, key=place)


def read_seal(line: str) -> dict[str, Head]:
    """Return the heads in a line of `Trail.seal`.

    Raises:
        UsageError: the text is no such line.

    >>> read_seal("log:2:" + "0" * 64)["log"].sequence
    2
    """
    heads: dict[str, Head] = {}
    for part in line.split(",") if line else ():
        found = _HEAD.fullmatch(part)
        if found is None:
            raise UsageError("this is no line of `claimtrace audit verify`", where="--against",
                             hint="write the line as it was printed")  # fmt: skip
        heads[found[1]] = Head(int(found[2]), found[3])
    return heads
