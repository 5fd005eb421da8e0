"""The contract of model registries: immutable versions, aliases, and the approvals log.

Adapters implement `ModelRegistry` and inherit its documentation; training and the command line
depend on this contract only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Protocol

from claimtrace.decisions import ModelRef, RolloutRef

from ..artefact import Artefact, Draft
from ..rollout.manifest import Rollout, RolloutDraft
from .approvals_log import ApprovalsHead, ApprovalsLog, Entry

Which = ModelRef | str | int
"""A version, named by reference, by alias (`"champion"`) or by number."""

Check = Callable[[ApprovalsLog], None]
"""A condition of an act: called with the very log that the act's line continues; raises to refuse.

`approval` has the rules that people's acts are checked by.
"""


class ModelRegistry(Protocol):
    """The versions and aliases of one model name. Reading takes no lock and changes nothing.

    Attributes:
        place: where the registry is, for people: a folder, or `s3://bucket/prefix/name`.
        user: the user of the operating system, `user@host`, noted on each line; "" is not noted.
    """

    place: str
    user: str

    def publish(
        self,
        draft: Draft,
        model_json: bytes,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        evidence: str | None = None,
        attachments: Mapping[str, bytes] | None = None,
    ) -> ModelRef:
        """Store a model under the next version number, for good; aliases don't move.

        Args:
            attachments: further files of the version for people, such as `report.html`, by their
                names; they are stored beside the model. Their digests stand in the manifest, whose
                own digest stands in the log, so `verify` finds an attachment that was edited.

        Raises:
            ModelError: the manifest, the model or an attachment would be refused on loading;
                nothing is written.
            StateError: the log is damaged, or actor or reason is missing.
        """

    def load(self, which: Which) -> Artefact:
        """Read a version; its digest is verified against the log line that published it.

        Raises:
            ModelError: there is no such version or alias, or its files are damaged.
            StateError: the log is damaged.
        """

    def attachment(self, which: Which, name: str) -> bytes:
        """Read an attachment of a version; verified against the digest in the manifest.

        `load` doesn't read attachments: nothing that decides on claims needs them.

        Raises:
            ModelError: there is no such version or attachment, or its bytes were changed.
            StateError: the log is damaged.
        """

    def attachment_place(self, version: int, name: str) -> str:
        """Return where an attachment lies, for people; whether it is there is not looked at."""

    def files(self, which: Which) -> dict[str, bytes]:
        """Return the files of a version by their names, as they were published and verified.

        Raises:
            ModelError, StateError: as for `load`.
        """

    def versions(self) -> list[ModelRef]:
        """Return every published version, oldest first."""

    def alias(self, alias: str) -> ModelRef | None:
        """Return the version that an alias points to; None if the alias isn't set."""

    def aliases(self) -> dict[str, int]:
        """Return every alias that is set, with the version it points to."""

    def move_alias(
        self,
        alias: str,
        version: int | None,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        expected: int | EllipsisType | None = ...,
        evidence: str | None = None,
        waived: Sequence[str] = (),
        check: Check | None = None,
    ) -> ModelRef | None:
        """Point an alias to a version, or withdraw it (None), by one synced append to the log.

        `expected` is the version that the caller saw the alias point to (None: not set): of two
        callers that decide at the same time the second is refused. Without `expected` nothing is
        compared. The version is loaded first, so an alias never points to a damaged version.

        Args:
            waived: failed gates that the actor lets pass.

        Raises:
            ModelError: there is no such version, or it is damaged.
            StateError: the alias has moved since, the version is retired, or the log is damaged.
        """

    def approve(
        self,
        version: int,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        evidence: str | None = None,
        waived: Sequence[str] = (),
        check: Check | None = None,
    ) -> None:
        """Record that a version may be put in charge, and which failed gates the actor lets pass.

        Raises:
            ModelError: there is no such version.
            StateError: the log is damaged, or actor or reason is missing.
        """

    def reject(
        self,
        version: int,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        evidence: str | None = None,
        check: Check | None = None,
    ) -> None:
        """Record in the log that a version was reviewed and not approved; the version is kept.

        Raises:
            ModelError: there is no such version.
            StateError: the log is damaged, or actor or reason is missing.
        """

    def retire(
        self, version: int, *, actor: str, reason: str, at_ms: int, evidence: str | None = None
    ) -> None:
        """Record that a version must never be in charge again; the version is kept.

        Raises:
            ModelError: there is no such version.
            StateError: an alias points to it, the log is damaged, or actor or reason is missing.
        """

    def exists(self) -> bool:
        """Whether anything was ever published here."""

    def approvals(self) -> ApprovalsLog:
        """Return the log, checked against its head; empty when there is none.

        Raises:
            StateError: the log is damaged, or ends before its head.
        """

    def recorded_head(self) -> ApprovalsHead | None:
        """Return the head of the log as kept beside it; None in a registry of an older version.

        Raises:
            StateError: what is kept is damaged.
        """

    def start_rollout(
        self,
        draft: RolloutDraft,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        expected: int | EllipsisType | None = ...,
    ) -> RolloutRef:
        """Store a roll-out under the next number, for good, and put it in force by one line.

        The line takes the place of the roll-out before it. `expected` is the number of the roll-out
        that the caller saw in force (None: none), compared as in `move_alias`.

        Raises:
            ModelError: the roll-out contradicts itself, or one of its models is missing or damaged;
                nothing is written.
            StateError: another roll-out or champion is in force by now, or the log is damaged.
        """

    def end_rollout(self, *, actor: str, reason: str, at_ms: int, expected: int) -> None:
        """End the roll-out in force by one line: the champion decides alone.

        Raises:
            StateError: `expected` isn't the number of the roll-out in force, or the log is damaged.
        """

    def rollout(self, which: RolloutRef | int) -> Rollout:
        """Read a roll-out; its digest is verified against the log line that started it.

        Raises:
            ModelError: there is none of that number, or it is damaged.
            StateError: the log is damaged.
        """

    def rollout_in_force(self) -> RolloutRef | None:
        """Return the roll-out in force; None while the champion decides alone."""

    def history(self) -> list[Entry]:
        """Return every entry of the approvals log, oldest first."""

    def live_at(self, alias: str, at_ms: int) -> Entry | None:
        """Return the entry that says where an alias pointed at a time, and who moved it and why.

        None if the alias wasn't set then.
        """

    def verify(self) -> list[str]:
        """Verify the log's chain and every version's bytes, attachments too.

        Returns the problems found, in words.

        An empty list means that nothing was changed.
        """
