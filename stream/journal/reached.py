"""The last plan whose effects are emitted and stored."""

from __future__ import annotations

import msgspec


class Reached(msgspec.Struct, frozen=True):
    """The last plan whose effects, and those of all plans before it, are emitted and stored.

    `chains` are the heads of the partitions' chains as of that plan.
    """

    plan: int
    plan_digest: str
    """The digest of the plan in the journal; shows when this note belongs to another journal."""
    chains: dict[int, str]
