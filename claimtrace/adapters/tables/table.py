"""The contract of a table with two keys, `pk` and `sk`, that several workers share.

Reads are consistent: a read returns every write that was acknowledged before. Conditions decide
races: of two writers that expect the same item, one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from ...clock import Clock

MOST_AT_ONCE: Final = 100
"""Maximum number of items written in one transaction."""

Item = dict[str, str | int]
"""Attributes by name: texts and whole numbers."""


class Change(NamedTuple):
    """An item to write if the stored one has the attributes `expected` (None: it doesn't exist)."""

    item: Mapping[str, str | int]
    expected: Mapping[str, str | int] | None


class Table(Protocol):
    """One table.

    Raises, from any method:
        ConfigError, StateError: the table doesn't exist or can't be read, or rights are missing.
        StoreUnavailable: the table doesn't answer now.
    """

    name: str

    def create(self, clock: Clock) -> bool:
        """Create the table if it is missing; False when it existed already."""

    def is_there(self) -> bool:
        """Whether the table exists and can be used."""

    def get(self, pk: str, sk: str) -> Item | None:
        """Return an item, or None."""

    def query(self, pk: str, from_sk: str = "", limit: int = 1000) -> Iterator[Item]:
        """Yield the items of `pk` in the order of `sk`, from `from_sk` on, `limit` a query."""

    def put(self, change: Change) -> bool:
        """Write an item if the stored one is as expected; False when it isn't."""

    def put_always(self, item: Mapping[str, str | int]) -> None:
        """Write an item unconditionally."""

    def put_all(self, changes: Sequence[Change]) -> bool:
        """Write up to `MOST_AT_ONCE` items, or none when a stored one isn't as expected (False)."""

    def delete(self, pk: str, sk: str) -> None:
        """Remove an item; no error when it doesn't exist."""
