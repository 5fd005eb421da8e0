"""Evidence and what-if for the routes, by one thread that has its own readers of the log.

A small replay takes some 10 ms of a core, and reads the log and the registry: it is kept from the
thread that decides, and from the loop that reads sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import msgspec

from claimtrace.errors import StoreUnavailable

from ...evidence.evidence import Evidence


class Question(NamedTuple):
    """A decision, as of when, and with which fields changed.

    Args:
        claim_id: the claim that was decided.
        at_plan: the number of a plan, after which it is looked at; None: the decision's own.
        changes: fields of the claim and their other values, as JSON; none: no what-if.
    """

    claim_id: str
    at_plan: int | None = None
    changes: Mapping[str, msgspec.Raw] = {}


class Explainer(Protocol):
    """Finds the evidence; used by one thread only."""

    def explain(self, question: Question) -> Evidence | None:
        """Return the evidence; None when there is no decision on the claim.

        Raises:
            UsageError: there is no such plan or field, or a value isn't the field's.
        """

    def close(self) -> None:
        """Close its readers."""


class EvidenceService:
    """Answers questions one after the other.

    Args:
        open_explainer: opens the readers, in the thread that uses them, at the first question.
        most_waiting: questions that may wait; a further one is refused.
    """

    def __init__(self, open_explainer: Callable[[], Explainer], most_waiting: int = 32) -> None:
        self._open, self._most = open_explainer, most_waiting
        self._explainer: Explainer | None = None
        self._thread = ThreadPoolExecutor(1, "evidence")
        self._waiting = 0

    async def explain(self, question: Question) -> Evidence | None:
        """Return the evidence; None when there is no decision on the claim.

        Raises:
            StoreUnavailable: too many wait, or the log doesn't answer.
            UsageError: see `Explainer.explain`.
        """
        if self._waiting >= self._most:
            raise StoreUnavailable("too many wait for evidence", hint="ask again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._explain, question)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread, and close its readers."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    def _explain(self, question: Question) -> Evidence | None:
        if self._explainer is None:
            self._explainer = self._open()
        return self._explainer.explain(question)

    def _close(self) -> None:
        if self._explainer is not None:
            self._explainer.close()
