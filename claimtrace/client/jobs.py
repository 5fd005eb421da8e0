"""The calls about files of claims, `/v1/batches`, as steps."""

from __future__ import annotations

from typing import Final, Literal

from ..backoff import Backoff
from ..errors import ApiError, NotDecidedYet, UsageError
from .answers import Job, Jobs
from .calls import get, reader
from .exchange import Patience, exchange
from .http import Pause, Request, Talk, part

Form = Literal["ndjson", "csv", "parquet"]
Way = Literal["look", "claims"]

MEDIA: Final[dict[str, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
_BY_ENDING: Final[dict[str, Form]] = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
_PATH: Final = "/v1/batches"
_FIRST_LOOK_S: Final = 0.2
_LONGEST_LOOK_S: Final = 5.0


def form_of(name: str) -> tuple[Form, bool]:
    """Return the form of a file by its name, and whether it is compressed by gzip.

    Raises:
        UsageError: the name's ending isn't known.

    >>> form_of("claims.csv.gz"), form_of("CLAIMS.PARQUET")
    (('csv', True), ('parquet', False))
    """
    plain = name.lower()
    is_gzip = plain.endswith(".gz")
    plain = plain.removesuffix(".gz")
    for ending, form in _BY_ENDING.items():
        if plain.endswith(ending):
            return form, is_gzip
    raise UsageError("the form of a file is known by its name", where=name,
                     hint=f"end it in {', '.join(_BY_ENDING)}, each also .gz")  # fmt: skip


def send(
    file: str, way: Way, fields: tuple[str, ...], patience: Patience, now_s: float
) -> Talk[Job]:
    """Send a file of claims; returns its job.

    It isn't sent twice unless the server did nothing with it: that would make two jobs.
    """
    form, is_gzip = form_of(file)
    headers = [("content-type", MEDIA[form])]
    if is_gzip:
        headers.append(("content-encoding", "gzip"))
    query: list[tuple[str, str]] = [("as", way)]
    if fields:
        query.append(("fields", ",".join(fields)))
    request = Request("POST", _PATH, tuple(query), tuple(headers), file=file, repeatable=False,
                      longer_s=patience.total_s)  # fmt: skip
    found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
    return reader(Job, "a job")(found.content)


def listed(patience: Patience, now_s: float) -> Talk[list[Job]]:
    """Ask for the caller's jobs, the newest first."""
    found = yield from get(_PATH, Jobs, "a list of jobs", patience, now_s)
    return found.jobs


def shown(job_id: str, patience: Patience, now_s: float) -> Talk[Job]:
    """Ask how far a job is."""
    found = yield from get(f"{_PATH}/{part(job_id)}", Job, "a job", patience, now_s)
    return found


def awaited(job_id: str, limit_s: float, patience: Patience, now_s: float) -> Talk[Job]:
    """Ask again and again until a job is done.

    Raises:
        NotDecidedYet: it isn't finished within the limit.
        ApiError: it failed, or was cancelled.
    """
    until_s, pauses = now_s + limit_s, Backoff(_FIRST_LOOK_S, _LONGEST_LOOK_S)
    request = Request("GET", f"{_PATH}/{part(job_id)}")
    while True:
        # a look of its own: the server may be away for a while in hours of waiting
        answer = yield from exchange(request, patience, now_s + patience.total_s, now_s)
        job = reader(Job, "a job")(answer.content)
        if job.state == "done":
            return job
        if job.is_final:
            raise ApiError(f"the job is {job.state}: {job.error}".rstrip(": "), where=job.id,
                           code=f"job_{job.state}")  # fmt: skip
        pause_s = pauses.next_s()
        _, now_s = yield Pause(pause_s / 2, pause_s)
        if now_s >= until_s:
            raise NotDecidedYet(f"the job is {job.state}, {job.lines:,} lines are answered",
                                where=job.id, hint="wait for it again")  # fmt: skip


def output(job_id: str, save_to: str, patience: Patience, now_s: float) -> Talk[str]:
    """Download the output of a job that is done; returns the name of the file."""
    request = Request("GET", f"{_PATH}/{part(job_id)}/output", save_to=save_to,
                      longer_s=patience.total_s)  # fmt: skip
    yield from exchange(request, patience, now_s + patience.total_s, now_s)
    return save_to


def removed(job_id: str, patience: Patience, now_s: float) -> Talk[Job]:
    """Cancel a job that isn't finished; delete one that is, with its files."""
    path = f"{_PATH}/{part(job_id)}"
    request = Request("DELETE", path, repeatable=False)
    found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
    return reader(Job, "a job")(found.content)
