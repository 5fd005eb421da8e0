"""The model registry in a bucket of S3: immutable objects, written once by conditional writes.

    PREFIX/NAME/000001/{manifest.json, model.json, attachments}
    PREFIX/NAME/rollouts/000001.json
    PREFIX/NAME/approvals/000000000001.json    one line of the log, never replaced
    PREFIX/NAME/approvals.log                  all lines so far: read first, and the second place

An act is one object with the next number, put with `If-None-Match: *`: of two people who decide at
once one wins, and the other is asked to look again. A version exists once a line publishes it. Its
manifest is put first and takes the number; so a crash between the objects leaves a number that
nothing refers to and that is never used again.

`approvals.log` is written after each act. A crash before that leaves an older one, which the lines
continue; lines that it has and that are gone are found by `verify`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

from claimtrace.adapters.aws.s3 import S3Objects
from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError, ModelError, StateError, StoreUnavailable

from ...artefact import MANIFEST_FILE, MAX_BYTES
from ...rollout.manifest import MAX_BYTES as MAX_ROLLOUT_BYTES
from ..approvals_log import ApprovalsHead, ApprovalsLog, read_approvals
from .folder import LOG_FILE, MAX_LOG_BYTES
from .logged import FilesOf, LineOf
from .logged_rollouts import LoggedRollouts

MAX_LINE_BYTES: Final = 64 * 2**10
_LINES: Final = "approvals/"
_ROLLOUTS: Final = "rollouts/"
_CHECKED: Final = "conditional-writes"
_TRIES: Final = 20


class S3Registry(LoggedRollouts):
    """The registry of one model name in a bucket.

    Region, endpoint and credentials come from the environment, as for other AWS tools.

    Args:
        url: `s3://bucket/prefix`; each model has its name below it.
        name: name of the model.
        user: the user of the operating system, noted on each line; "": not noted.
        client: a boto3 client for S3; None makes one from the environment.

    Raises:
        ModelError: the name isn't safe.
    """

    def __init__(self, url: str, name: str = "claims", user: str = "", client: Any = None) -> None:
        super().__init__(name, f"{url.rstrip('/')}/{name}", user)
        self._objects = S3Objects(self.place, client)
        self._seen = ApprovalsLog()
        self._can_write = False

    def exists(self) -> bool:
        return bool(self._read().entries)

    def recorded_head(self) -> ApprovalsHead | None:
        copy = self._copy()
        return ApprovalsHead(len(copy.entries), copy.head) if copy.entries else None

    def _read(self) -> ApprovalsLog:
        """Return the log: what is known already, and the lines after it.

        Nothing of the log is ever replaced, so that a log that was read once costs one request.
        """
        log = self._seen if self._seen.entries else self._copy()
        while (
            line := self._objects.get(_line_key(len(log.entries) + 1), MAX_LINE_BYTES)
        ) is not None:
            log = self._continued(log, line)
        self._seen = log
        return log

    def _line_object(self, number: int) -> bytes | None:
        return self._objects.get(_line_key(number), MAX_LINE_BYTES)

    def _copy(self) -> ApprovalsLog:
        content = self._objects.get(LOG_FILE, MAX_LOG_BYTES) or b""
        return read_approvals(content, f"{self.place}/{LOG_FILE}")

    def _continued(self, log: ApprovalsLog, line: bytes) -> ApprovalsLog:
        number = len(log.entries) + 1
        where = f"{self.place}/{_line_key(number)}"
        longer = log.extended(line, where)
        if len(longer.entries) != number:
            raise StateError("the object is not one line of the log", where=where,
                             hint="compare with a copy of the bucket")  # fmt: skip
        return longer

    def _publish(self, files_of: FilesOf, line_of: LineOf) -> ModelRef:
        log = self._read()
        first = 1 + max([0, *self._numbers(), *log.published()])
        line_of(log, first, "")  # an actor or a reason that is missing is refused before all else
        self._check_writable()
        for version in range(first, first + _TRIES):
            files, digest = files_of(version)
            # The manifest takes the number; whoever comes second takes the next.
            if self._objects.put_new(self._object(version, MANIFEST_FILE), files[MANIFEST_FILE]):
                break
        else:
            raise StoreUnavailable("others publish versions", where=self.place)
        for name, content in files.items():
            if name != MANIFEST_FILE and not self._objects.put_new(
                self._object(version, name), content
            ):
                raise StateError("somebody else wrote this file of the version",
                                 where=f"{self._where(version)}/{name}",
                                 hint="publish again: another number is taken")  # fmt: skip
        self._append(lambda log: line_of(log, version, digest))
        return ModelRef(self.name, version, digest)

    def _append(self, line_of: Callable[[ApprovalsLog], bytes]) -> None:
        for _ in range(_TRIES):
            log = self._read()
            line = line_of(log)
            self._check_writable()
            if self._objects.put_new(_line_key(len(log.entries) + 1), line):
                self._seen = self._continued(log, line)
                with contextlib.suppress(ClaimtraceError):  # the act is done: its line is there
                    self._objects.put(LOG_FILE, _text(self._seen))
                return
        raise StoreUnavailable("others decide all the time", where=self.place,
                               hint="try again")  # fmt: skip

    def _file(self, version: int, name: str) -> bytes:
        where = self._where(version)
        try:
            content = self._objects.get(self._object(version, name), MAX_BYTES)
        except StateError as error:
            raise ModelError(f"a file of version {version} can't be read: {error}",
                             where=where) from error  # fmt: skip
        if content is None:
            raise ModelError(f"a file of version {version} is gone: {name}", where=where,
                             hint="restore it from an older version of the object, or move the "
                             "alias back")  # fmt: skip
        return content

    def _put_rollout(self, number: int, content: bytes) -> None:
        self._check_writable()
        if not self._objects.put_new(_rollout_key(number), content):
            raise StateError(f"somebody else started roll-out {number}", where=self.place,
                             hint="look at `rollout status` and decide again")  # fmt: skip

    def _rollout_file(self, number: int) -> bytes:
        where = f"{self.place}/{_rollout_key(number)}"
        try:
            content = self._objects.get(_rollout_key(number), MAX_ROLLOUT_BYTES)
        except StateError as error:
            raise ModelError(f"roll-out {number} can't be read: {error}",
                             where=where) from error  # fmt: skip
        if content is None:
            raise ModelError(f"roll-out {number} is gone", where=where,
                             hint="restore it from an older version of the object")  # fmt: skip
        return content

    def _rollout_numbers(self) -> list[int]:
        names = [key.removeprefix(_ROLLOUTS).removesuffix(".json")
                 for key in self._objects.keys(_ROLLOUTS)]  # fmt: skip
        return sorted(int(name) for name in names if name.isdecimal())

    def _numbers(self) -> list[int]:
        folders = {key.partition("/")[0] for key in self._objects.keys()}  # noqa: SIM118
        return sorted(int(each) for each in folders if each.isdecimal())

    def _more_problems(self) -> list[str]:
        """Compare the copy of the log with its lines, and find those that are gone."""
        log = self._read()
        there = set(self._objects.keys(_LINES))
        problems = [
            f"line {number} of the approvals log is gone [{self.place}/{_line_key(number)}]"
            for number in range(1, len(log.entries) + 1)
            if _line_key(number) not in there
        ]
        problems += [
            f"line {number} of the approvals log is not the one in {LOG_FILE} "
            f"[{self.place}/{_line_key(number)}]"
            for number in range(1, len(log.entries) + 1)
            if _line_key(number) in there and self._line_object(number) != log.text(number)
        ]
        return problems

    def _check_writable(self) -> None:
        if not self._can_write:
            self._objects.check_conditions(_CHECKED)
            self._can_write = True

    def _where(self, version: int) -> str:
        return f"{self.place}/{version:06d}"

    @staticmethod
    def _object(version: int, name: str) -> str:
        return f"{version:06d}/{name}"


def _line_key(number: int) -> str:
    return f"{_LINES}{number:012d}.json"


def _rollout_key(number: int) -> str:
    return f"{_ROLLOUTS}{number:06d}.json"


def _text(log: ApprovalsLog) -> bytes:
    return b"".join(log.text(number) for number in range(1, len(log.entries) + 1))
