"""Address, headers, files and losses of connections, for both clients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from ...errors import BadAnswer, ConfigError, UsageError
from ..http import MOST_ANSWER_BYTES, Lost, Request

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
CHUNK_BYTES: Final = 1 << 18


def httpx_module() -> ModuleType:
    """Import httpx, which the base installation doesn't have.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise UsageError("the client needs httpx", where="claimtrace.client",
                         hint='pip install "claimtrace[client]"') from error  # fmt: skip
    found: ModuleType = httpx
    return found


def checked_url(url: str, key: str | None, *, plain_http: bool) -> str:
    """Return the address without a slash at its end.

    Raises:
        ConfigError: it is no address of HTTP, or a key would travel unencrypted.

    >>> checked_url("https://claims.test/", "ct_1_x", plain_http=False)
    'https://claims.test'
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"not an address: {error}", where="url") from error
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigError("not the address of a server", where="url",
                          hint="such as https://claims.example.com")  # fmt: skip
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a user or password stands in the address", where="url",
                          hint="give the key by key=")  # fmt: skip
    if key and parts.scheme == "http" and host not in _LOOPBACK and not plain_http:
        raise ConfigError("the key would travel unencrypted", where="url",
                          hint="use https; or plain_http=True inside of a closed net")  # fmt: skip
    return url.rstrip("/")


def headers_of(key: str | None) -> dict[str, str]:
    """Return the headers of every request.

    Raises:
        ConfigError: the key has characters that no header carries; it isn't shown.
    """
    headers = {"accept": "application/json, application/problem+json"}
    if key is not None:
        if not key or not all("!" <= c <= "~" for c in key):
            raise ConfigError("the key is empty or has spaces or other characters", where="key",
                              hint="give it as claimtrace keys add has shown it")  # fmt: skip
        headers["authorization"] = f"Bearer {key}"
    return headers


def lost(error: Exception, request: Request, httpx: ModuleType) -> Lost:
    """Return the loss of an answer: by a connection that wasn't made, or one that broke."""
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        words = f"{request.label} took too long"
    return Lost(words[:300], sent=not isinstance(error, unsent))


def open_file(name: str) -> BinaryIO:
    """Open a file to send it.

    Raises:
        UsageError: it can't be read.
    """
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UsageError(f"can't read the file: {error.strerror}", where=name) from error


class Gathered:
    """The body of an answer as it arrives, at most `MOST_ANSWER_BYTES` of it."""

    def __init__(self, request: Request) -> None:
        self._request, self._parts, self._size = request, list[bytes](), 0

    def add(self, part: bytes) -> None:
        """Take a part; raises `BadAnswer` when the whole becomes too large."""
        self._size += len(part)
        if self._size > MOST_ANSWER_BYTES:
            raise BadAnswer(f"the answer is larger than {MOST_ANSWER_BYTES >> 20} MiB",
                            where=self._request.label)  # fmt: skip
        self._parts.append(part)

    def whole(self) -> bytes:
        """Return the body."""
        return b"".join(self._parts)


@contextlib.contextmanager
def saved(name: str) -> Iterator[BinaryIO]:
    """Write a file beside its name; it gets its name when all of it has arrived.

    Raises:
        UsageError: it can't be written.
    """
    path = Path(name)
    aside = path.with_name(f".part-{path.name}")
    try:
        with aside.open("wb") as file:
            yield file
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"can't write the file: {error.strerror}", where=name) from error
    finally:
        aside.unlink(missing_ok=True)
