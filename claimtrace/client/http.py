"""Requests and answers of HTTP as values, and the steps of a call: send, pause."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from ..errors import UsageError

T = TypeVar("T")

MOST_ANSWER_BYTES: Final = 64 << 20
"""A longer answer is refused; outputs of jobs go to a file and have no limit."""
_LONGEST_PAUSE_S: Final = 86_400.0


class Request(NamedTuple):
    """A request.

    Args:
        method, path: as in HTTP; the path is quoted.
        query: parameters.
        headers: besides those of every request.
        content: the body.
        file: the name of a file that is the body instead.
        save_to: the name of a file that a good answer's body goes to.
        repeatable: whether a repeat is safe although the first one may have been carried out.
        longer_s: the server may take so much longer than for others before it answers.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    file: str = ""
    save_to: str = ""
    repeatable: bool = True
    longer_s: float = 0.0

    @property
    def label(self) -> str:
        """Method and path, for errors."""
        return f"{self.method} {self.path}"


class Response(NamedTuple):
    """An answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


class Lost(NamedTuple):
    """No answer; `sent` says whether the server may have got the request."""

    why: str
    sent: bool


class Send(NamedTuple):
    """The step: send a request, and wait for its answer for at most `within_s` seconds."""

    request: Request
    within_s: float


class Pause(NamedTuple):
    """The step: wait for a time between two bounds, drawn at random, so that callers spread."""

    least_s: float
    most_s: float


class Heard(NamedTuple):
    """The result of a step: an answer, its loss, or None after a pause; and the time, monotonic."""

    what: Response | Lost | None
    now_s: float


Talk = Generator[Send | Pause, Heard, T]
"""A call as steps; whoever runs it sends, sleeps and reads the clock."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After, which may be a date; None without it or if it is none.

    >>> retry_after_s({"retry-after": "3"})
    3.0
    >>> retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:09 GMT",
    ...                "date": "Wed, 21 Oct 2015 07:28:00 GMT"})
    9.0
    >>> retry_after_s({"retry-after": "soon"})
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return min(float(text), _LONGEST_PAUSE_S)
    try:
        until = parsedate_to_datetime(text)
        asked = parsedate_to_datetime(headers.get("date", ""))
        found = (until - asked).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(found, 0.0), _LONGEST_PAUSE_S)


def path_of(location: str, base: str) -> str | None:
    """Return the path of a Location that lies on the same server; else None: the key stays home.

    >>> path_of("/v1/decisions/C-1", "https://claims.test")
    '/v1/decisions/C-1'
    >>> path_of("https://claims.test/v1/decisions/C-1", "https://claims.test")
    '/v1/decisions/C-1'
    >>> path_of("https://elsewhere.test/v1/decisions/C-1", "https://claims.test")
    >>> path_of("//elsewhere.test/v1", "https://claims.test")
    """
    try:
        there, here = urlsplit(location), urlsplit(base)
    except ValueError:
        return None
    if there.scheme or there.netloc:
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            return None
        prefix = here.path.rstrip("/")
        if not there.path.startswith(f"{prefix}/v1/"):
            return None
        return there.path[len(prefix) :]
    return there.path if there.path.startswith("/v1/") else None


def part(text: str) -> str:
    """Quote a part of a path.

    Raises:
        UsageError: it is empty, or no text that a path can carry.

    >>> part("C 1/2")
    'C%201%2F2'
    """
    try:
        quoted = quote(text, safe="")
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError("an id or key is text", where=repr(text)[:80]) from error
    if not quoted or not quoted.strip("."):
        raise UsageError("an id or key has at least one character that isn't a point",
                         where=repr(text)[:80])  # fmt: skip
    return quoted
