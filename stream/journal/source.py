"""The contract of a source: records of the inputs by position, or by the log's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from claimtrace.events import Record

from .plan import Range, TopicPartition


class Source(Protocol):
    """The input topics of a log."""

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by their topics' places in `topics` from now on.

        It depends on the edition (`Domain.tie_order`): said before each `poll` and `fetch`.
        """

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Sequence[Record]:
        """Return the next records, at most `most`, in plan order; empty when there are none now.

        Args:
            positions: the next position to read of each topic-partition; without one it is read
                from its beginning.
            most: records of the batch at the most.
        """

    def fetch(self, ranges: Sequence[Range]) -> Sequence[Record]:
        """Return exactly the records of a plan, in plan order."""

    def located(self, ranges: Sequence[Range]) -> list[Range]:
        """Return ranges of records from `poll` with everything that `fetch` needs to find them."""

    def bookmarks(self, positions: Mapping[TopicPartition, int]) -> bytes:
        """Return what another process needs to `poll` from these positions."""

    def resume(self, bookmarks: bytes) -> None:
        """Continue from the bookmarks of a snapshot."""


class ByPosition:
    """The base of a source whose log finds its records by position alone."""

    def located(self, ranges: Sequence[Range]) -> list[Range]:
        """Return the ranges unchanged."""
        return list(ranges)

    def bookmarks(self, positions: Mapping[TopicPartition, int]) -> bytes:  # noqa: ARG002
        """Return no bytes: positions are enough."""
        return b""

    def resume(self, bookmarks: bytes) -> None:
        """Do nothing: positions are enough."""
