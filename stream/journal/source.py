"""Where records come from: by position, or by what a log calls its records itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from claimtrace.events import Record

from .plan import Range, TopicPartition


class Source(Protocol):
    """Where records come from."""

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Sequence[Record]:
        """The next records after the positions, in plan order; empty when there are none now."""

    def fetch(self, ranges: Sequence[Range]) -> Sequence[Record]:
        """Exactly the records of a plan, in plan order."""

    def located(self, ranges: Sequence[Range]) -> list[Range]:
        """The ranges of records that `poll` gave, with all that `fetch` must know."""

    def bookmarks(self, positions: Mapping[TopicPartition, int]) -> bytes:
        """What `poll` must know to go on from positions in another process."""

    def resume(self, bookmarks: bytes) -> None:
        """Go on from bookmarks."""


class ByPosition:
    """A source whose log finds its records by position: nothing else need be known."""

    def located(self, ranges: Sequence[Range]) -> list[Range]:
        """As they are."""
        return list(ranges)

    def bookmarks(self, positions: Mapping[TopicPartition, int]) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def resume(self, bookmarks: bytes) -> None:
        """Nothing to do."""
