"""Errors of the API as problem details of RFC 9457, made in this one place."""

from __future__ import annotations

from typing import Final

import msgspec

from claimtrace.errors import ClaimtraceError, StoreUnavailable, UsageError

MEDIA: Final = "application/problem+json"
_TITLES: Final = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large",
    415: "Unsupported Media Type", 422: "Unprocessable Content", 429: "Too Many Requests",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not answered as asked: `code` is for programs, `hint` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str


class ProblemError(Exception):
    """A problem raised by a handler; `headers` go with the answer."""

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem, self.headers = problem, headers or {}


def problem(status: int, code: str, detail: str, hint: str = "") -> Problem:
    """Make a problem.

    >>> problem(404, "no_such_claim", "there is no decision on C-1").title
    'Not Found'
    """
    return Problem(type="about:blank", title=_TITLES.get(status, "Error"), status=status,
                   detail=detail, code=code, hint=hint)  # fmt: skip


def problem_of(error: ClaimtraceError) -> Problem:
    """Turn one of our errors into a problem; paths and settings stay out of it.

    >>> problem_of(UsageError("there is no plan 9", where="/data", hint="the plans are 1 .. 3"))
    Problem(type='about:blank', title='Bad Request', status=400, detail='there is no plan 9', ...)
    """
    if isinstance(error, StoreUnavailable):
        return problem(503, "unavailable", error.what, error.hint)
    if isinstance(error, UsageError):
        return problem(400, "bad_request", error.what, error.hint)
    return problem(500, "failed", error.what, "see the server's log")
