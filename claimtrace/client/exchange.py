"""One request until its answer: repeats on lost connections, 429 and 503, within a time limit."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from ..backoff import Backoff
from ..errors import (
    ApiError,
    BadAnswer,
    BadRequest,
    ClaimRefused,
    Conflict,
    NotAllowed,
    NotFound,
    NotServed,
    ServerUnavailable,
    TooManyRequests,
)
from .answers import Problem
from .http import Lost, Pause, Request, Response, Send, Talk, retry_after_s

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_MOST_SHOWN: Final = 500
_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict, 422: ClaimRefused,
    429: TooManyRequests, 501: NotServed, 502: ServerUnavailable, 503: ServerUnavailable,
    504: ServerUnavailable,
}  # fmt: skip
_BUSY: Final = frozenset({429, 503})
"""Answers that say that nothing was done."""
_GATEWAY: Final = frozenset({502, 504})
"""Answers of a proxy that doesn't know what the server did."""


class Patience(NamedTuple):
    """The seconds that a call waits: for one answer, and in all."""

    answer_s: float = 10.0
    total_s: float = 30.0


def exchange(
    request: Request, patience: Patience, until_s: float, now_s: float, *, also: int = 0
) -> Talk[Response]:
    """Send a request, again and again if need be, until an answer that isn't "later".

    A request that can't be repeated safely is sent again only when it can't have arrived, or the
    server said that it did nothing.

    Args:
        request: the request.
        patience: for one answer.
        until_s: the end of the time limit, monotonic.
        now_s: the time, monotonic.
        also: a status that is an answer too.

    Returns:
        The first answer below 400, or with the status `also`.

    Raises:
        ApiError: of the class of the answer's status; or there was none within the time limit.
    """
    backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
    found: Response | Lost | None = None
    while (left_s := until_s - now_s) > 0:
        found, now_s = yield Send(request, min(patience.answer_s + request.longer_s, left_s))
        if isinstance(found, Response) and (found.status < 400 or found.status == also):
            return found
        if not _may_repeat(request, found):
            break
        least_s = backoff.next_s() / 2
        most_s = 2 * least_s
        asked_s = retry_after_s(found.headers) if isinstance(found, Response) else None
        if asked_s is not None:
            least_s, most_s = max(asked_s, least_s), asked_s + most_s
        if now_s + least_s >= until_s:
            break
        _, now_s = yield Pause(least_s, min(most_s, until_s - now_s))
    raise error_of(request, found)


def _may_repeat(request: Request, found: Response | Lost | None) -> bool:
    if isinstance(found, Response):
        return found.status in _BUSY or (request.repeatable and found.status in _GATEWAY)
    return isinstance(found, Lost) and (request.repeatable or not found.sent)


def error_of(request: Request, found: Response | Lost | None) -> ApiError:
    """Return the error of an answer, made from its problem details; text from outside is cut.

    >>> refused = Response(409, {}, b'{"detail":"other bytes","code":"id_conflict"}')
    >>> error_of(Request("POST", "/v1/decisions"), refused)
    Conflict('other bytes')
    """
    if not isinstance(found, Response):
        why = found.why if found is not None else "the time limit was over before the first try"
        return ServerUnavailable(
            f"no answer: {why}", where=request.label,
            hint="check the address, and that claimtrace serve runs there", code="no_answer",
        )  # fmt: skip
    made = _BY_STATUS.get(found.status) or (
        BadRequest if 400 <= found.status < 500 else BadAnswer if found.status < 400 else ApiError
    )
    try:
        said = msgspec.json.decode(found.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = Problem()
    what = _plain(said.detail or said.title) or f"the server answered {found.status}"
    return made(what, where=request.label, hint=_plain(said.hint), status=found.status,
                code=_plain(said.code))  # fmt: skip


def _plain(text: str) -> str:
    return "".join(c for c in text[:_MOST_SHOWN] if c.isprintable())
