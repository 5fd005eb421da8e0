"""The model registry on a local folder: immutable versions beside an append-only approvals log.

    FOLDER/NAME/000001/{manifest.json, model.json, report.html}
    FOLDER/NAME/approvals.log
    FOLDER/NAME/approvals.head    how many lines the log has, and the chain of the last

A version exists once the log holds its line `published`. Its folder is written before that line, so
a crash between the two leaves a folder that nothing refers to, and its number is never used again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import EllipsisType
from typing import Final

from claimtrace.adapters.files.atomic_files import (
    make_folder,
    read_file,
    sync_folder,
    write_file,
    write_folder,
)
from claimtrace.decisions import ModelRef, chain_of
from claimtrace.errors import ClaimtraceError, ModelError, StateError

from ...artefact import (
    MANIFEST_FILE,
    MAX_BYTES,
    MODEL_FILE,
    Artefact,
    Draft,
    check_attachment,
    check_name,
    no_attachment,
    read_artefact,
    write_manifest,
)
from ..approvals_log import (
    ApprovalsHead,
    ApprovalsLog,
    Entry,
    encode_head,
    read_approvals,
    read_head,
)
from ..registry import Which
from .folder_rollouts import FolderRollouts

LOG_FILE: Final = "approvals.log"
HEAD_FILE: Final = "approvals.head"
_MAX_HEAD_BYTES: Final = 4096
MAX_LOG_BYTES: Final = 256 * 2**20
"""Size limit of the log: half a million lines."""


class FolderRegistry(FolderRollouts):
    """The registry of one model name on a local folder.

    Writers exclude each other by a lock on the log file, across processes too.

    Raises:
        ModelError: the name isn't a safe folder name.
    """

    def __init__(self, folder: str | Path, name: str = "claims") -> None:
        check_name(name, "model")
        self.name = name
        self.folder = Path(folder) / name
        self._log = self.folder / LOG_FILE

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
        with self._writing() as (approvals, handle):
            # Folders without a line count too: the number of an interrupted publish isn't reused.
            version = 1 + max([0, *self._numbers(), *_published(approvals)])
            content, manifest_digest = write_manifest(
                draft, self.name, version, model_json, attachments
            )
            _, line = approvals.line(
                "published", at_ms=at_ms, actor=actor, reason=reason, version=version,
                digest=manifest_digest, evidence=evidence,
            )  # fmt: skip
            # First the folder, then the line: whoever reads the line finds the version complete.
            files = {MANIFEST_FILE: content, MODEL_FILE: model_json, **(attachments or {})}
            write_folder(self._path(version), files)
            self._write(handle, line, approvals)
        return ModelRef(self.name, version, manifest_digest)

    def load(self, which: Which) -> Artefact:
        ref = self._resolve(which)
        manifest, model = (self._file(ref.version, name) for name in (MANIFEST_FILE, MODEL_FILE))
        return read_artefact(manifest, model, ref, str(self._path(ref.version)))

    def attachment(self, which: Which, name: str) -> bytes:
        artefact = self.load(which)
        if name not in artefact.manifest.attached:
            raise no_attachment(artefact.manifest, name)
        content = self._file(artefact.ref.version, name)
        check_attachment(
            artefact.manifest, name, content, str(self.attachment_path(artefact.ref.version, name))
        )
        return content

    def attachment_path(self, version: int, name: str) -> Path:
        """Return the file of an attachment; whether it is there and sound is not looked at."""
        return self._path(version) / name

    def _file(self, version: int, name: str) -> bytes:
        path = self._path(version)
        try:
            return read_file(path / name, MAX_BYTES)
        except (OSError, StateError) as error:
            raise ModelError(
                f"a file of version {version} can't be read: {error}",
                where=str(path),
                hint="restore the folder from a copy, or move the alias back",
            ) from error

    def versions(self) -> list[ModelRef]:
        published = _published(self._read())
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
    ) -> ModelRef | None:
        check_name(alias, "alias")
        with self._writing() as (approvals, handle):
            last = approvals.alias(alias)
            current = last.version if last else None
            if expected is not ... and expected != current:
                raise StateError(
                    f"{alias} points to {_number(current)}, not to {_number(expected)}",
                    where=str(self._log),
                    hint="someone else moved the alias meanwhile; look at its history and decide "
                    "again",
                )
            ref = self.load(version).ref if version is not None else None
            _, line = approvals.line(
                "moved" if ref else "withdrawn", at_ms=at_ms, actor=actor, reason=reason,
                version=version, digest=ref.digest if ref else None, alias=alias,
                from_version=current, evidence=evidence,
            )  # fmt: skip
            self._write(handle, line, approvals)
        return ref

    def reject(
        self, version: int, *, actor: str, reason: str, at_ms: int, evidence: str | None = None
    ) -> None:
        with self._writing() as (approvals, handle):
            published = approvals.version(version)
            if published is None:
                raise self._unknown(version, approvals)
            _, line = approvals.line(
                "rejected", at_ms=at_ms, actor=actor, reason=reason, version=version,
                digest=published.digest, evidence=evidence,
            )  # fmt: skip
            self._write(handle, line, approvals)

    def history(self) -> list[Entry]:
        return list(self._read().entries)

    def live_at(self, alias: str, at_ms: int) -> Entry | None:
        return self._read().live_at(alias, at_ms)

    def verify(self) -> list[str]:
        try:
            approvals = self._read()
        except StateError as error:
            return [str(error)]
        problems: list[str] = []
        published = _published(approvals)
        for version in published:
            try:
                for name in self.load(version).manifest.attached:
                    self.attachment(version, name)
            except ClaimtraceError as error:
                problems.append(str(error))
        problems += self.damaged_rollouts(approvals)
        unlisted = [number for number in self._numbers() if number not in published]
        problems += [
            f"version {number} is not in the log: a publish was interrupted, or lines were cut off"
            f" [{self._path(number)}]"
            for number in unlisted
        ]
        return problems

    def _resolve(self, which: Which) -> ModelRef:
        approvals = self._read()
        if isinstance(which, str):
            ref = self._ref(approvals.alias(which))
            if ref is None:
                known = ", ".join(f"{name} -> {to}" for name, to in approvals.aliases().items())
                raise ModelError(
                    f"alias {which!r} points to no version",
                    where=str(self._log),
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
                where=str(self._log),
                hint="the reference belongs to another registry",
            )
        return ref

    def _unknown(self, version: int, approvals: ApprovalsLog) -> ModelError:
        published = list(_published(approvals))
        known = f"published: {published[0]} .. {published[-1]}" if published else "none published"
        return ModelError(f"there is no version {version}", where=str(self.folder), hint=known)

    def _ref(self, entry: Entry | None) -> ModelRef | None:
        if entry is None or entry.version is None or entry.digest is None:
            return None
        return ModelRef(self.name, entry.version, entry.digest)

    def _path(self, version: int) -> Path:
        return self.folder / f"{version:06d}"

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def recorded_head(self) -> ApprovalsHead | None:
        """Return the head of the log as kept beside it; None in a folder of an older version.

        Raises:
            StateError: the file of the head is damaged.
        """
        path = self.folder / HEAD_FILE
        try:
            return read_head(read_file(path, _MAX_HEAD_BYTES), str(path))
        except FileNotFoundError:
            return None

    def approvals(self) -> ApprovalsLog:
        """Return the log, checked against its head; empty when there is none.

        Raises:
            StateError: the log is damaged, or ends before its head.
        """
        return self._read()

    def _read(self) -> ApprovalsLog:
        # the head first: an append writes it last, so a log read after it is never behind it
        head = self.recorded_head()
        try:
            content = read_file(self._log, MAX_LOG_BYTES)
        except FileNotFoundError:
            content = b""
        approvals = read_approvals(content, str(self._log))
        if head is not None:
            approvals.check_continues(head, str(self._log))
        return approvals

    def _write(self, handle: int, line: bytes, approvals: ApprovalsLog) -> None:
        """Append a line to the log, and put its chain in the file of the head.

        A crash between the two leaves an older head, which the log continues; so does a disk that
        refuses the head. The next append mends it.
        """
        _append(handle, line, approvals.whole_bytes)
        head = ApprovalsHead(len(approvals.entries) + 1, chain_of(line.rstrip(b"\n")))
        with contextlib.suppress(OSError):  # the act is done: the line is durable
            write_file(self.folder / HEAD_FILE, encode_head(head))

    @contextmanager
    def _writing(self) -> Iterator[tuple[ApprovalsLog, int]]:
        """Hold the lock of the log; yields the log as read under the lock, and its file handle.

        A last line that a crash left incomplete is cut off first.
        """
        created = not self._log.exists()
        try:
            make_folder(self.folder)
            handle = os.open(self._log, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            raise StateError(
                f"the registry can't be written: {error.strerror}", where=str(self.folder),
                hint="this may be a read-only copy, or a folder of another user",
            ) from error  # fmt: skip
        try:
            if created:
                sync_folder(self.folder)
            # The lock goes with the handle: closing it, or the death of the process, releases it.
            fcntl.flock(handle, fcntl.LOCK_EX)
            approvals = self._read()
            os.ftruncate(handle, approvals.whole_bytes)
            yield approvals, handle
        finally:
            os.close(handle)


def _append(handle: int, line: bytes, at: int) -> None:
    """Append a line at offset `at` and sync it; cut it off again if the disk refuses it.

    Raises:
        OSError: the line could not be written and synced; the file is as before.
    """
    written = 0
    try:
        while written < len(line):
            written += os.pwrite(handle, line[written:], at + written)
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, at)
        raise


def _published(approvals: ApprovalsLog) -> dict[int, str]:
    """Return the published versions and the digests of their manifests, oldest first."""
    return {
        entry.version: entry.digest
        for entry in approvals.entries
        if entry.act == "published" and entry.version is not None and entry.digest is not None
    }


def _number(version: int | EllipsisType | None) -> str:
    return "no version" if version is None else f"version {version}"
