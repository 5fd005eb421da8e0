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
