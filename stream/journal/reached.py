"""A note of the last plan whose effects are emitted and stored."""

from __future__ import annotations

import msgspec


class Reached(msgspec.Struct, frozen=True):
    """A plan whose effects, and those of all before it, are emitted and stored; `chains` are the
    heads of the partitions' chains as of then."""

    plan: int
    plan_digest: str
    """Of the plan as it stands in the journal, should this note belong to another one."""
    chains: dict[int, str]
