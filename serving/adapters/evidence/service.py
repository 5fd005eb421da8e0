"""Evidence and what-if for the routes, by one thread that has its own readers of the log.

A small replay takes some 10 ms of a core, and reads the log and the registry: it is kept from the
thread that decides, and from the loop that reads sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from claimtrace.errors import StoreUnavailable

from ...evidence.evidence import Evidence

Explain = Callable[[str, int | None, Mapping[str, Any] | None], Evidence]
"""Given a claim's id, the plan to look from and the fields that are changed, returns the evidence.

Raises `UsageError` without a decision on the claim (`where` is "claim"), such a plan or field.
"""


class EvidenceService:
    """Answers questions one after the other.

    Args:
        as_of_now: returns who finds it as of now; called before each question, by the thread that
            asks, so that readers can be opened there once and then extended.
        most_waiting: questions that may wait; a further one is refused.
        at_end: called by the same thread when no more questions come; closes what it opened.
    """

    def __init__(
        self,
        as_of_now: Callable[[], Explain],
        most_waiting: int = 32,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._as_of_now, self._most, self._at_end = as_of_now, most_waiting, at_end
        self._thread = ThreadPoolExecutor(1, "evidence")
        self._waiting = 0

    async def explain(
        self, claim_id: str, at_plan: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Evidence:
        """Return the evidence for a decision.

        Args:
            claim_id: the claim that was decided.
            at_plan: the number of a plan, after which it is looked at; None: the decision's own.
            changes: fields of the claim and their other values; None: no what-if.

        Raises:
            StoreUnavailable: too many wait, or the log doesn't answer.
            UsageError: see `Explain`.
        """
        if self._waiting >= self._most:
            raise StoreUnavailable("too many wait for evidence", hint="ask again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: self._as_of_now()(claim_id, at_plan, changes)
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Answer who waits, and end the thread."""
        self._thread.submit(self._at_end).result()
        self._thread.shutdown(wait=True, cancel_futures=True)
