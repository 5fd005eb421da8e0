"""JSON over HTTP to a server of the user's: bounded, without redirects, with errors as ours."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from claimtrace.errors import ConfigError, ModelError, StoreUnavailable

TIMEOUT_S: Final = 20.0
MAX_ANSWER_BYTES: Final = 16 * 2**20
_MOST_TOLD: Final = 300


class HttpJson:
    """A server that answers JSON.

    Args:
        address: `http://host:port` or `https://host`, with a path in front of all others if any.
        where: the setting or option that holds the address, for error messages.
        username, password: for basic authentication; empty: none.
        token: a bearer token in their place; empty: none.

    Raises:
        ConfigError: the address is no such URL, or holds a password.
    """

    def __init__(
        self, address: str, where: str, *, username: str = "", password: str = "", token: str = ""
    ) -> None:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
            raise ConfigError(f"{address[:_MOST_TOLD]!r} is no address of a server", where=where,
                              hint="write http://host:port or https://host")  # fmt: skip
        if "@" in parts.netloc:
            raise ConfigError("the address holds a name or password", where=where,
                              hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                              "MLFLOW_TRACKING_TOKEN")  # fmt: skip
        self._host, self._port, self._path = host, port, parts.path.rstrip("/")
        self._is_secure, self._where = parts.scheme == "https", where
        self._headers = {"Accept": "application/json", "User-Agent": "claimtrace"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        elif username:
            pair = base64.b64encode(f"{username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """Return the answer to a GET; None where the server says that it isn't there (404)."""
        told = f"?{urlencode(query)}" if query else ""
        return self._ask("GET", path + told)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a POST of JSON."""
        return self._must(path, self._ask("POST", path, msgspec.json.encode(body)))

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a PATCH or DELETE of JSON."""
        return self._must(path, self._ask(method, path, msgspec.json.encode(body)))

    def put(self, path: str, content: bytes) -> None:
        """Put some bytes at a path, whose parts are quoted here."""
        quoted = quote(path)
        self._must(path, self._ask("PUT", quoted, content, "application/octet-stream"))

    def _must(self, path: str, answer: dict[str, Any] | None) -> dict[str, Any]:
        if answer is None:
            raise ConfigError(f"the server has nothing at {path}", where=self._where,
                              hint="is this the address of an MLflow server?")  # fmt: skip
        return answer

    def _ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> dict[str, Any] | None:
        headers = {**self._headers, **({"Content-Type": kind} if body is not None else {})}
        connection = self._connection()
        try:
            connection.request(method, self._path + path, body, headers)
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise StoreUnavailable(
                f"the server doesn't answer: {type(error).__name__}", where=self._where,
                hint="is it running at that address? Mirror later: claimtrace models mirror mlflow",
            ) from error  # fmt: skip
        finally:
            connection.close()
        return self._answer(answer.status, content, path.partition("?")[0])

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)

    def _answer(self, status: int, content: bytes, path: str) -> dict[str, Any] | None:
        if status == 404:
            return None
        told = "".join(c for c in content[:_MOST_TOLD].decode(errors="replace") if c.isprintable())
        if status in (401, 403):
            raise ConfigError(f"the server refuses us ({status})", where=self._where,
                              hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                              "MLFLOW_TRACKING_TOKEN")  # fmt: skip
        if status >= 500 or status == 429:
            raise StoreUnavailable(f"{path}: the server fails ({status}): {told}",
                                   where=self._where, hint="mirror later")  # fmt: skip
        if not 200 <= status < 300:
            raise ModelError(f"{path}: the server refuses it ({status}): {told}",
                             where=self._where)  # fmt: skip
        if len(content) > MAX_ANSWER_BYTES:
            raise ModelError(f"{path}: an answer of more than {MAX_ANSWER_BYTES >> 20} MiB",
                             where=self._where)  # fmt: skip
        if not content.strip():
            return {}
        try:
            return msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{path}: the answer is no JSON object", where=self._where) from error
