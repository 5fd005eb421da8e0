"""A job: one file of claims, and how far it is."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from claimtrace.errors import UsageError

from .fields import chosen

State = Literal["queued", "running", "done", "failed", "cancelled"]
As = Literal["look", "claims"]
Form = Literal["ndjson", "csv", "parquet"]

FINAL: Final[frozenset[State]] = frozenset({"done", "failed", "cancelled"})
_NEXT: Final[dict[State, frozenset[State]]] = {
    "queued": frozenset({"running", "cancelled", "failed"}),
    "running": frozenset({"queued", "done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""The states that may follow; a running job is queued again when its process was stopped."""

FORMS: Final[dict[str, Form]] = {
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
}
"""The form of a file by its media type."""
MEDIA: Final[dict[Form, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
_MOST_FIELDS: Final = 64


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is shown.

    `lines` are those that are answered so far; `as` says whether claims are looked at or decided.
    `answers` counts lines by what became of them, and `out_bytes` is the size of what can be
    downloaded, once it is done.
    """

    id: str
    state: State
    way: As = msgspec.field(name="as")
    form: Form
    gzip: bool
    fields: list[str]
    by: str
    created_ms: int
    changed_ms: int
    in_bytes: int
    lines: int = 0
    answers: dict[str, int] = {}
    out_bytes: int = 0
    error: str = ""


class Counted(msgspec.Struct, frozen=True):
    """What the process of a job prints at its end."""

    lines: int = 0
    answers: dict[str, int] = {}


def counted(said: bytes) -> Counted:
    """Read what the process of a job printed; zeros where it can't be read.

    >>> counted(b'{"lines": 3, "answers": {"decided": 3}}').lines, counted(b"no").lines
    (3, 0)
    """
    try:
        return msgspec.json.decode(said, type=Counted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Counted()


class Jobs(msgspec.Struct, frozen=True):
    """Jobs, the newest first."""

    jobs: list[Job]


def form_of(media: str) -> Form:
    """Return the form of a file by its media type; parameters of the type don't matter.

    Raises:
        UsageError: the type is none of those that are read.

    >>> form_of("text/csv; charset=utf-8")
    'csv'
    """
    found = FORMS.get(media.partition(";")[0].strip().lower())
    if found is None:
        raise UsageError("this media type isn't read", where="Content-Type",
                         hint=f"one of {', '.join(FORMS)}; gzip by Content-Encoding")  # fmt: skip
    return found


def fields_of(text: str | None) -> list[str]:
    """Read the names of fields of the output, separated by commas; none: the usual ones.

    Raises:
        UsageError: a name isn't a field of an answer, or there are too many.

    >>> fields_of("score, outcome")
    ['score', 'outcome']
    """
    names = [name.strip() for name in text.split(",")] if text else []
    if len(names) > _MOST_FIELDS:
        raise UsageError(f"more than {_MOST_FIELDS} fields", where="fields", hint="name fewer")
    return list(chosen(names, "fields")) if names else []


def moved(job: Job, state: State, at_ms: int, **changes: int | str | dict[str, int]) -> Job:
    """Return a job in its next state.

    Raises:
        UsageError: it can't go there from where it is.

    >>> job = Job(id="1", state="queued", way="look", form="csv", gzip=False, fields=[], by="",
    ...           created_ms=0, changed_ms=0, in_bytes=9)
    >>> moved(moved(job, "running", 1), "done", 2, lines=3).lines
    3
    >>> moved(moved(job, "cancelled", 1), "running", 2)
    Traceback (most recent call last):
    claimtrace.errors.UsageError: the job is cancelled [1]
    """
    if state not in _NEXT[job.state]:
        raise UsageError(f"the job is {job.state}", where=job.id)
    return msgspec.structs.replace(job, state=state, changed_ms=at_ms, **changes)
