"""One hierarchy of errors: what went wrong, where, a hint how to fix it, and whether to retry.

Bad *input* on the log is never an exception: it is a `claimtrace.refusals.Refusal`, a value that
ends in the dead-letter topic. Exceptions are for a user's mistakes (`UsageError` and below), for
stores and logs that don't answer, and for our own faults.
"""

from __future__ import annotations


class ClaimtraceError(Exception):
    """Root of all errors that claimtrace raises on purpose.

    Args:
        what: one sentence without a full stop; shown to a person.
        where: the file, setting, table or position concerned.
        hint: how to fix it, as an instruction.

    Attributes:
        retryable: whether the same call may succeed later without anyone changing anything.
        exit_code: the status with which a command ends on this error.

    >>> str(StateError("the folder is in use", where="/data", hint="stop process 12 first"))
    'the folder is in use [/data] (stop process 12 first)'
    """

    retryable = False
    exit_code = 70

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.what}{where}{hint}"


class UsageError(ClaimtraceError):
    """A request that can't be carried out; the command shows it without a stack trace and ends."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting that is unknown, of the wrong type, or would lose data; nothing starts with it.

    Adapters raise it too when a login, a right or a topic is missing: the worker stops, since
    waiting doesn't help.
    """


class DefinitionError(UsageError):
    """A domain whose definitions contradict themselves or name something that doesn't exist."""


class StateError(ClaimtraceError):
    """State on disk that is locked, damaged, or of another version; nothing was changed.

    The worker stops; after the hint was followed it can be started again.
    """


class NoJournal(StateError):
    """A path without a journal: no batch was ever planned there."""

    @classmethod
    def at(cls, where: str) -> NoJournal:
        """Return the error for a path that holds no journal yet."""
        return cls("there is no journal yet", where=where, hint="run claimtrace stream")


class StoreUnavailable(ClaimtraceError):
    """A store or log that doesn't answer. The driver pauses and retries; nothing is skipped."""

    retryable = True


class ModelError(ClaimtraceError):
    """An artefact that is damaged, of another schema, or fails its self-check.

    A running worker keeps the model that it has.
    """


class Superseded(ClaimtraceError):
    """Another worker has taken over the partitions that this one was processing.

    Nothing is wrong: the worker releases them and asks its group which ones it still owns.
    """


class ApiError(ClaimtraceError):
    """An answer of `claimtrace serve` that says no; raised by `claimtrace.client`.

    Args:
        what: `detail` of the problem (RFC 9457).
        where: method and path of the request.
        hint: as in the problem.
        status: of HTTP; 0: there was no answer.
        code: a word for programs, such as `id_conflict`.

    >>> str(NotFound("no decision on C-1", where="GET /v1/decisions/C-1", status=404))
    'no decision on C-1 [GET /v1/decisions/C-1]'
    """

    def __init__(
        self, what: str, *, where: str = "", hint: str = "", status: int = 0, code: str = ""
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.code = code


class BadRequest(ApiError):
    """A request that the server doesn't understand or take: 400, 405, 413, 415 and their like."""

    exit_code = 2


class NotAllowed(ApiError):
    """A key or token that is missing, wrong or expired (401), or lacks the right (403)."""

    exit_code = 2


class NotFound(ApiError):
    """A decision, model, entity or job that doesn't exist (404)."""

    exit_code = 2


class Conflict(ApiError):
    """Another claim with the same id and other bytes was there first (409); nothing was written.

    Also for scores of claims that are decided already, and of models of other definitions.
    """

    exit_code = 2


class ClaimRefused(ApiError):
    """A claim that the stream would not accept (422); `code` is the dead letter's reason."""

    exit_code = 2


class NotServed(ApiError):
    """A process that can't answer this at all, such as one without a worker (501)."""

    exit_code = 2


class TooManyRequests(ApiError):
    """A caller beyond its rate (429), for longer than the time limit of the call."""

    retryable = True


class ServerUnavailable(ApiError):
    """A server that can't be reached or is too busy (503), for the whole time limit of the call."""

    retryable = True


class NotDecidedYet(ApiError):
    """A claim that is on the log, but had no decision within the time limit.

    The decision falls later; ask for it by its path, or send the same claim again.
    """

    retryable = True


class BadAnswer(ApiError):
    """An answer that isn't one of `claimtrace serve`; perhaps something else listens there."""
