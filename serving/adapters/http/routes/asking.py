"""What handlers share: the parts of this process, numbers in queries, the type of a claim."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from ....problems import ProblemError, problem


def the_part(request: Request, name: str) -> Any:
    """Return a part of this process.

    Raises:
        ProblemError: 501, this process doesn't have it.
    """
    found = getattr(request.app.state.parts, name)
    if found is None:
        raise ProblemError(
            problem(501, "not_here", f"this process has no {name}",
                    "ask a process that was started with a worker, or as a follower")
        )  # fmt: skip
    return found


def number_in(request: Request, name: str, least: int, most: int) -> int | None:
    """Return a whole number of the query; None without it.

    Raises:
        ProblemError: 400, it is none, or outside of its bounds.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and least <= int(text) <= most):
        raise ProblemError(
            problem(400, "bad_request", f"{name} is no whole number from {least} to {most}")
        )
    return int(text)


def claim_body() -> Any:
    """Return the type of a body with claims: an object, or a list of objects."""
    return dict[str, Any] | list[dict[str, Any]]


def caller_of(request: Request) -> str:
    """Return who calls, as the rights know it; "open" where no credential is asked for."""
    caller = getattr(request.state, "caller", None)
    return "open" if caller is None else str(caller.id)
