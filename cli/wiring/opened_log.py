"""An opened log: what a transport hands to the assembly of a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stream.journal.terms import Terms
    from stream.worker.parts import LogParts


class OpenedLog(NamedTuple):
    """The parts of a log, the terms its journal was begun with, and the time between commits."""

    parts: LogParts
    terms: Terms
    commit_every_s: float = 0.0
