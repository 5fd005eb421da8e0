"""Refusals, counted before they are written, so that a flood of them can't fill the log.

The first refusal of its kind (caller, route, code, address) is written at once. Further ones within
`WINDOW_S` are counted, and written as one event with their count when the window ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .event import Actor, Draft

WINDOW_S: Final = 10.0
MOST_KINDS: Final = 1_000
"""Kinds that are told apart in a window; beyond it, all others are counted together."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused request: who, where, with which status and reason, and from where.

    `route` is the route's template, `address` a pseudonym.
    """

    actor: Actor
    status: int
    code: str
    reason: str
    route: str
    address: str = ""


_OTHERS: Final = Refused(Actor("many"), 0, "many", "too many kinds to tell apart", "")


@dataclass(slots=True)
class _Open:
    began_s: float
    count: int


class RefusalCounts:
    """The open windows of refusals; the caller writes the drafts that it returns.

    >>> counts = RefusalCounts()
    >>> wrong = Refused(Actor("nobody"), 401, "bad_credential", "unknown key", "/v1/scores")
    >>> [len(counts.add(wrong, "r", at_ms=0, now_s=float(s))) for s in (0, 1, 2)]
    [1, 0, 0]
    >>> [draft.body["count"] for draft in counts.due(at_ms=9, now_s=10.0)]
    [2]
    """

    def __init__(self) -> None:
        self._windows: dict[Refused, _Open] = {}

    def add(self, refused: Refused, request_id: str, at_ms: int, now_s: float) -> list[Draft]:
        """Count a refusal; return the events to write now: those of ended windows, and this one
        when it is the first of its kind."""
        ready = self.due(at_ms, now_s)
        if refused not in self._windows and len(self._windows) >= MOST_KINDS:
            refused, request_id = _OTHERS, ""
        window = self._windows.get(refused)
        if window is not None:
            window.count += 1
            return ready
        self._windows[refused] = _Open(now_s, 0)
        return [*ready, _draft(refused, request_id, 1, at_ms)]

    def due(self, at_ms: int, now_s: float, *, all_windows: bool = False) -> list[Draft]:
        """Return the events of windows that have ended, or of all windows; they are closed."""
        ended = [
            kind
            for kind, window in self._windows.items()
            if all_windows or now_s - window.began_s >= WINDOW_S
        ]
        return list(self._closed(ended, at_ms))

    def _closed(self, kinds: list[Refused], at_ms: int) -> Iterator[Draft]:
        for kind in kinds:
            if count := self._windows.pop(kind).count:
                yield _draft(kind, "", count, at_ms)


def _draft(refused: Refused, request_id: str, count: int, at_ms: int) -> Draft:
    return Draft(
        kind="access.refused", at_ms=at_ms, actor=refused.actor, request_id=request_id,
        subject=refused.address,
        body={
            "status": refused.status, "code": refused.code, "reason": refused.reason,
            "route": refused.route, "count": count,
        },
    )  # fmt: skip
