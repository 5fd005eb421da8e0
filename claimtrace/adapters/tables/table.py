"""A table with two keys, `pk` and `sk`, that several workers share: what of one is needed here.

Reads are consistent: what was written is read. Conditions decide races: of two writers that expect
the same, one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from ...clock import Clock

MOST_AT_ONCE: Final = 100
"""Items that are written together or not at all."""

Item = dict[str, str | int]
"""Attributes: texts and whole numbers."""


class Change(NamedTuple):
    """An item to be written if one stands there as expected; None: if none stands there."""

    item: Mapping[str, str | int]
    expected: Mapping[str, str | int] | None


class Table(Protocol):
    """One table.

    Raises, from any method:
        ConfigError, StateError: it isn't there, it can't be read, or rights are missing.
        StoreUnavailable: no answer now.
    """

    name: str

    def create(self, clock: Clock) -> bool:
        """Make it if it isn't there; False when it was."""

    def is_there(self) -> bool:
        """Whether it can be used."""

    def get(self, pk: str, sk: str) -> Item | None:
        """An item."""

    def query(self, pk: str, from_sk: str = "", limit: int = 1000) -> Iterator[Item]:
        """The items of a key in the order of the other, from one on, so many read at a time."""

    def put(self, change: Change) -> bool:
        """Write an item; False when what stands there isn't what was expected."""

    def put_always(self, item: Mapping[str, str | int]) -> None:
        """Write an item, whatever stands there."""

    def put_all(self, changes: Sequence[Change]) -> bool:
        """Write up to `MOST_AT_ONCE` items or none; False when one isn't as expected."""

    def delete(self, pk: str, sk: str) -> None:
        """Remove an item, if it is there."""
