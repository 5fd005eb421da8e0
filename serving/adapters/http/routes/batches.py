"""`/v1/batches`: files of claims as jobs: sent, watched, downloaded, cancelled."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from claimtrace.errors import UsageError

from ....batches.job import FORMS, MEDIA, As, Job, Jobs, fields_of, form_of
from ....openapi import Media, Parameter
from ....problems import ProblemError, problem
from ....roles import Scope
from ...batches.service import NoSuchJob, TooManyJobs
from ..endpoint import Endpoint
from ..rights import require
from .asking import caller_of, the_part

_NO_STORE: Final = {"Cache-Control": "no-store"}


async def add(request: Request) -> Response:
    """Take a file of claims, and queue its job."""
    asked = request.query_params
    way = asked.get("as", "look")
    if way == "claims":
        require(request, Scope.DECIDE)
    batches = the_part(request, "batches")
    if way not in get_args(As):
        raise ProblemError(problem(400, "bad_request", "`as` is look or claims"))
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ProblemError(problem(415, "bad_encoding", "only gzip is undone", "send it as it is"))
    try:
        form = form_of(request.headers.get("content-type", ""))
    except UsageError as error:
        hint = f"one of {', '.join(FORMS)}"
        raise ProblemError(problem(415, "bad_media", "this media type isn't read", hint)) from error
    fields = fields_of(asked.get("fields"))
    try:
        job = await batches.add(request.stream(), way=way, form=form,
                                gzip=encoding == "gzip", fields=fields,
                                by=caller_of(request))  # fmt: skip
    except TooManyJobs as error:
        raise ProblemError(problem(429, "too_many_jobs", error.what, error.hint)) from error
    return _job(job, 202, {"Location": f"/v1/batches/{job.id}"})


async def listed(request: Request) -> Response:
    """List the caller's jobs, the newest first."""
    jobs = await the_part(request, "batches").newest(caller_of(request))
    return Response(msgspec.json.encode(jobs), media_type="application/json", headers=_NO_STORE)


async def shown(request: Request) -> Response:
    """Show how far a job is."""
    return _job(await _found(request))


async def output(request: Request) -> Response:
    """Send the output of a job that is done."""
    job = await _found(request)
    if job.state != "done":
        raise ProblemError(problem(409, "not_done", f"the job is {job.state}",
                                   job.error or "wait until it is done"))  # fmt: skip
    _, path = await the_part(request, "batches").output(job.id, caller_of(request))
    name = f"claimtrace-{job.id}.{job.form}"
    return FileResponse(path, media_type=MEDIA[job.form], filename=name, headers=_NO_STORE)


async def remove(request: Request) -> Response:
    """Cancel a job that isn't finished; delete one that is, with its files."""
    job = await _found(request)
    return _job(await the_part(request, "batches").remove(job.id, caller_of(request)))


async def _found(request: Request) -> Job:
    batches, name = the_part(request, "batches"), request.path_params["job_id"]
    try:
        found: Job = await batches.get(name, caller_of(request))
    except NoSuchJob as error:
        raise ProblemError(problem(404, "no_such_job", error.what, error.hint)) from error
    return found


def _job(job: Job, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(job)
    return Response(body, status, {**_NO_STORE, **(headers or {})}, "application/json")


_FILE: Any = tuple(Media(media) for media in FORMS)

ROUTES: Final = (
    Endpoint(
        "POST", "/v1/batches", Scope.BATCH, add,
        "Score a file of claims, or put it on the log; the answer is a job to come back to.",
        request=_FILE, answers={202: Job}, needs="batches",
        query=(
            Parameter("as", Literal["look", "claims"], "look: nothing is written, all lines at one "
                      "plan; claims: the lines go onto the log, and are decided."),
            Parameter("fields", str, "Fields of the answers to write, separated by commas."),
        ),
    ),
    Endpoint("GET", "/v1/batches", Scope.BATCH, listed, "The caller's jobs, the newest first.",
             answers={200: Jobs}, needs="batches"),
    Endpoint("GET", "/v1/batches/{job_id}", Scope.BATCH, shown, "How far a job is.",
             answers={200: Job}, needs="batches"),
    Endpoint("GET", "/v1/batches/{job_id}/output", Scope.BATCH, output,
             "The output of a job that is done: the lines sent, joined with their answers.",
             answers={200: tuple(Media(media) for media in MEDIA.values())}, needs="batches"),
    Endpoint("DELETE", "/v1/batches/{job_id}", Scope.BATCH, remove,
             "Cancel a job that isn't finished; delete one that is, with its files.",
             answers={200: Job}, needs="batches"),
)  # fmt: skip
