"""One hierarchy of errors: what went wrong, where, how to mend it, and whether trying again helps.

Bad *input* on the log is never an exception: it is a `claimtrace.refusals.Refusal`, a value that
ends in the dead-letter topic. Exceptions are for people (`UsageError` and below) and for our own
faults.
"""

from __future__ import annotations


class ClaimtraceError(Exception):
    """Root of all errors that claimtrace raises on purpose.

    Args:
        what: one sentence, no full stop needed; shown to a person.
        where: the file, setting, table or position it concerns.
        hint: what to do about it, as an instruction.

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
    """The user asked for something that can't be done; shown without a stack trace."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, of the wrong type, or would lose data."""


class DefinitionError(UsageError):
    """A domain's definitions contradict themselves or name something that doesn't exist."""


class StateError(ClaimtraceError):
    """State on disk is locked, damaged, or of another version; nothing was changed."""


class NoJournal(StateError):
    """Nothing was ever decided here."""

    @classmethod
    def at(cls, where: str) -> NoJournal:
        """Where one would be."""
        return cls("there is no journal yet", where=where, hint="run claimtrace stream")


class StoreUnavailable(ClaimtraceError):
    """A store or log doesn't answer. The driver pauses and tries again; nothing is skipped."""

    retryable = True


class ModelError(ClaimtraceError):
    """An artefact is damaged, of another schema, or fails its self-check; the old one stays."""


class Superseded(ClaimtraceError):
    """Another worker has taken over what this one was at. Nothing is wrong: it lets go, and sees
    what it still owns."""
