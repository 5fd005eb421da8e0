"""Common part of all registries: every act is one line of the approvals log.

An adapter stores the files of versions and the lines; the rules stand here, so that a folder and a
bucket behave alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType

from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError, ModelError, StateError

from ...artefact import (
    MANIFEST_FILE,
    MODEL_FILE,
    Artefact,
    Draft,
    check_attachment,
    check_name,
    no_attachment,
    read_artefact,
    write_manifest,
)
from ..approval import check_retirement
from ..approvals_log import Act, ApprovalsLog, Entry
from ..registry import Check, ModelRegistry, Which

FilesOf = Callable[[int], tuple[Mapping[str, bytes], str]]
"""Makes the files of a version of a number, and the digest of its manifest."""

LineOf = Callable[[ApprovalsLog, int, str], bytes]
"""Makes the line that publishes a version: the log it continues, number, digest."""


class LoggedRegistry(ModelRegistry):
    """A registry whose state is its approvals log.

    Args:
        name: name of the model.
        place: where the registry is, for people.
        user: the user of the operating system, noted on each line; "": not noted.

    Raises:
        ModelError: the name isn't safe.
    """

    def __init__(self, name: str, place: str, user: str) -> None:
        check_name(name, "model")
        self.name, self.place, self.user = name, place, user

    # What an adapter stores and reads.

    @abstractmethod
    def _read(self) -> ApprovalsLog:
        """Return the log, checked against its head; empty when there is none."""

    @abstractmethod
    def _publish(self, files_of: FilesOf, line_of: LineOf) -> ModelRef:
        """Store the files of a new version, then append its line."""

    @abstractmethod
    def _append(self, line_of: Callable[[ApprovalsLog], bytes]) -> None:
        """Append a line to the newest log; nothing is appended if `line_of` raises.

        `line_of` is called again where another writer was faster.
        """

    @abstractmethod
    def _file(self, version: int, name: str) -> bytes:
        """Return a file of a version.

        Raises:
            ModelError: it can't be read.
        """

    @abstractmethod
    def _numbers(self) -> list[int]:
        """Return the numbers of all versions that are stored, published or not."""

    @abstractmethod
    def _where(self, version: int) -> str:
        """Return the place of a version, for people."""

    def _more_problems(self) -> list[str]:
        """Return what else is wrong with the log, in words."""
        return []

    def _damaged_beside(self, approvals: ApprovalsLog) -> list[str]:
        """Return what is wrong with the files that aren't of a version, in words."""
        del approvals
        return []

    # The contract.

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
        def files_of(version: int) -> tuple[Mapping[str, bytes], str]:
            content, digest = write_manifest(draft, self.name, version, model_json, attachments)
            files = {MANIFEST_FILE: content, MODEL_FILE: model_json, **(attachments or {})}
            return files, digest

        def line_of(approvals: ApprovalsLog, version: int, digest: str) -> bytes:
            return self._line(
                approvals, "published", actor=actor, reason=reason, at_ms=at_ms, version=version,
                digest=digest, evidence=evidence,
            )  # fmt: skip

        return self._publish(files_of, line_of)

    def load(self, which: Which) -> Artefact:
        return self._load(self._resolve(which))[0]

    def files(self, which: Which) -> dict[str, bytes]:
        artefact, files = self._load(self._resolve(which))
        attached = artefact.manifest.attached
        return files | {name: self._attachment(artefact, name) for name in attached}

    def attachment(self, which: Which, name: str) -> bytes:
        return self._attachment(self.load(which), name)

    def attachment_place(self, version: int, name: str) -> str:
        return f"{self._where(version)}/{name}"

    def versions(self) -> list[ModelRef]:
        published = self._read().published()
        return [ModelRef(self.name, version, digest) for version, digest in published.items()]

    def alias(self, alias: str) -> ModelRef | None:
        return self._ref(self._read().alias(alias))

    def aliases(self) -> dict[str, int]:
        return self._read().aliases()

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
        check_name(alias, "alias")
        moved: ModelRef | None = None

        def line_of(approvals: ApprovalsLog) -> bytes:
            nonlocal moved
            last = approvals.alias(alias)
            current = last.version if last else None
            if expected is not ... and expected != current:
                raise StateError(
                    f"{alias} points to {_number(current)}, not to {_number(expected)}",
                    where=self.place,
                    hint="someone else moved the alias meanwhile; look at its history and decide "
                    "again",
                )
            if version is not None and approvals.state(version) == "retired":
                raise StateError(f"version {version} is retired, for good", where=self.place,
                                 hint="take another version")  # fmt: skip
            if check is not None:
                check(approvals)
            moved = self.load(version).ref if version is not None else None
            return self._line(
                approvals, "moved" if moved else "withdrawn", at_ms=at_ms, actor=actor,
                reason=reason, version=version, digest=moved.digest if moved else None, alias=alias,
                from_version=current, evidence=evidence, waived=waived,
            )  # fmt: skip

        self._append(line_of)
        return moved

    def approve(
        self, version: int, *, actor: str, reason: str, at_ms: int, evidence: str | None = None,
        waived: Sequence[str] = (), check: Check | None = None,
    ) -> None:  # fmt: skip
        self._judge(version, "approved", check, actor=actor, reason=reason, at_ms=at_ms,
                    evidence=evidence, waived=waived)  # fmt: skip

    def reject(
        self, version: int, *, actor: str, reason: str, at_ms: int, evidence: str | None = None,
        check: Check | None = None,
    ) -> None:  # fmt: skip
        self._judge(version, "rejected", check, actor=actor, reason=reason, at_ms=at_ms,
                    evidence=evidence)  # fmt: skip

    def retire(
        self, version: int, *, actor: str, reason: str, at_ms: int, evidence: str | None = None
    ) -> None:
        def check(approvals: ApprovalsLog) -> None:
            check_retirement(approvals, version)

        self._judge(version, "retired", check, actor=actor, reason=reason, at_ms=at_ms,
                    evidence=evidence)  # fmt: skip

    def history(self) -> list[Entry]:
        return list(self._read().entries)

    def live_at(self, alias: str, at_ms: int) -> Entry | None:
        return self._read().live_at(alias, at_ms)

    def approvals(self) -> ApprovalsLog:
        return self._read()

    def verify(self) -> list[str]:
        try:
            approvals = self._read()
        except StateError as error:
            return [str(error)]
        problems = self._more_problems()
        published = approvals.published()
        for version in published:
            try:
                self.files(version)
            except ClaimtraceError as error:
                problems.append(str(error))
        problems += self._damaged_beside(approvals)
        unlisted = [number for number in self._numbers() if number not in published]
        problems += [
            f"version {number} is not in the log: a publish was interrupted, or lines were cut off"
            f" [{self._where(number)}]"
            for number in unlisted
        ]
        return problems

    # Common parts.

    def _load(self, ref: ModelRef) -> tuple[Artefact, dict[str, bytes]]:
        files = {name: self._file(ref.version, name) for name in (MANIFEST_FILE, MODEL_FILE)}
        where = self._where(ref.version)
        return read_artefact(files[MANIFEST_FILE], files[MODEL_FILE], ref, where), files

    def _attachment(self, artefact: Artefact, name: str) -> bytes:
        if name not in artefact.manifest.attached:
            raise no_attachment(artefact.manifest, name)
        version = artefact.ref.version
        content = self._file(version, name)
        check_attachment(artefact.manifest, name, content, self.attachment_place(version, name))
        return content

    def _judge(
        self,
        version: int,
        act: Act,
        check: Check | None,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        evidence: str | None = None,
        waived: Sequence[str] = (),
    ) -> None:
        def line_of(approvals: ApprovalsLog) -> bytes:
            published = approvals.version(version)
            if published is None:
                raise self._unknown(version, approvals)
            if check is not None:
                check(approvals)
            return self._line(
                approvals, act, actor=actor, reason=reason, at_ms=at_ms, version=version,
                digest=published.digest, evidence=evidence, waived=waived,
            )  # fmt: skip

        self._append(line_of)

    def _line(
        self,
        approvals: ApprovalsLog,
        act: Act,
        *,
        actor: str,
        reason: str,
        at_ms: int,
        version: int | None,
        digest: str | None,
        alias: str | None = None,
        from_version: int | None = None,
        evidence: str | None = None,
        waived: Sequence[str] = (),
    ) -> bytes:
        return approvals.line(
            act, actor=actor, reason=reason, at_ms=at_ms, version=version, digest=digest,
            alias=alias, from_version=from_version, evidence=evidence, user=self.user,
            waived=waived,
        )[1]  # fmt: skip

    def _resolve(self, which: Which) -> ModelRef:
        approvals = self._read()
        if isinstance(which, str):
            ref = self._ref(approvals.alias(which))
            if ref is None:
                known = ", ".join(f"{name} -> {to}" for name, to in approvals.aliases().items())
                raise ModelError(
                    f"alias {which!r} points to no version",
                    where=self.place,
                    hint=f"aliases: {known}" if known else "publish a version and move an alias",
                )
            return ref
        version = which.version if isinstance(which, ModelRef) else which
        ref = self._ref(approvals.version(version))
        if ref is None:
            raise self._unknown(version, approvals)
        if isinstance(which, ModelRef) and which != ref:
            raise ModelError(
                f"version {version} is {ref.name} {ref.digest[:12]}..,"
                f" not {which.name} {which.digest[:12]}..",
                where=self.place,
                hint="the reference belongs to another registry",
            )
        return ref

    def _unknown(self, version: int, approvals: ApprovalsLog) -> ModelError:
        published = list(approvals.published())
        known = f"published: {published[0]} .. {published[-1]}" if published else "none published"
        return ModelError(f"there is no version {version}", where=self.place, hint=known)

    def _ref(self, entry: Entry | None) -> ModelRef | None:
        if entry is None or entry.version is None or entry.digest is None:
            return None
        return ModelRef(self.name, entry.version, entry.digest)


def _number(version: int | EllipsisType | None) -> str:
    return "no version" if version is None else f"version {version}"
