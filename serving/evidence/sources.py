"""What the evidence is gathered from: the contract of the log, the decisions and the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from claimtrace.batches.records import Records
from claimtrace.decisions import ModelRef
from stream.engine.engine import Engine
from stream.journal.plan import Plan

from .evidence import Approval


class Place(NamedTuple):
    """Where a record stands on the log, and the plan that it belongs to."""

    topic: str
    partition: int
    position: int
    plan: int


class Sealed(msgspec.Struct, frozen=True):
    """A decision on the log with its neighbours' links.

    `before` is the chain of the decision before it, `behind` the bytes of the one behind it; empty
    for the newest.
    """

    position: int
    value: bytes
    before: str
    behind: bytes


class Sources(Protocol):
    """Everything that is read for the evidence."""

    def plans(self) -> Sequence[Plan]:
        """Return the journal's plans, all of them, in order."""

    def engine(self, lateness_ms: int | None = None) -> Engine:
        """Build an engine without any state, that doesn't watch; with another allowed lateness."""

    def records(self, places: Sequence[Place]) -> Records:
        """Return the records at some places, in their order, without those that are gone."""

    def sealed(self, partition: int, before: int, position: int) -> Sealed | None:
        """Return the decision on the claim at a position of a partition; None: it is gone.

        `before` is how many decisions of the partition precede it, where no one was repeated.
        """

    def acts(self, model: ModelRef, until_ms: int) -> tuple[list[Approval], int, int]:
        """Return what the approvals log says of a version until a time.

        Also the numbers of the acts that approved it, and that put it in charge then; 0: none.
        """
