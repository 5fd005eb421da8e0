"""The evidence of a serving process: opened by the thread that answers, again as needed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from claimtrace.errors import UsageError

from ...wiring.workspace import Workspace
from ..explain.opened import open_evidence

if TYPE_CHECKING:
    from serving.adapters.evidence.service import Explain
    from serving.evidence.evidence import Evidence
    from serving.evidence.gathering import Gatherer


class KeptEvidence:
    """Keeps the index and its readers; all calls come from one thread.

    What stands behind a decision never changes, so the journal is read on only when a decision or
    a plan isn't known yet.

    Args:
        workspace: copied, as registry and log belong to one thread.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = Workspace(workspace.settings)
        self._opened = ExitStack()
        self._gatherer: Gatherer | None = None

    def as_of_now(self) -> Explain:
        """Return who finds evidence."""
        return self._evidence

    def close(self) -> None:
        """Close the readers; in the thread that opened them."""
        self._opened.close()

    def _evidence(
        self, claim_id: str, at_plan: int | None, changes: Mapping[str, Any] | None
    ) -> Evidence:
        from serving.evidence.cases import When

        when = When(at_plan)
        if self._gatherer is not None:
            try:
                return self._gatherer.evidence(claim_id, when, changes)
            except UsageError:
                pass  # decided since, perhaps
        self._opened.close()
        self._gatherer = None
        self._gatherer = self._opened.enter_context(open_evidence(self._workspace, quiet=True))
        return self._gatherer.evidence(claim_id, when, changes)
