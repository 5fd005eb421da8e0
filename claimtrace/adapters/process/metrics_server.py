"""Metrics and readiness over HTTP: `/metrics` for Prometheus, `/ready` and `/live` for whoever
runs the worker.

It answers one request a connection, from a daemon thread, and never waits long for anyone: a client
has a few seconds for all of its request, and only so many are served at a time. Nothing here holds
personal data (see `stream.adapters.reporting.prometheus`), so it may listen beyond this machine
when asked to.
"""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ...errors import ConfigError

PATHS: Final = ("/metrics", "/ready", "/live")

_PATIENCE_S: Final = 5.0
"""For the whole request, and once more for the whole answer."""
_MOST_CLIENTS: Final = 16
_MOST_HEAD_BYTES: Final = 8 * 1024
_SETTING: Final = "metrics.listen"
_PLAIN: Final = "text/plain; charset=utf-8"
_HINT: Final = "write 127.0.0.1:9464"
_STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """What a client gets; `body` is plain text or the exposition format."""

    status: int
    body: bytes
    kind: str = _PLAIN


class Server:
    """A running server; made by `start`.

    Attributes:
        address: where it really listens, such as `127.0.0.1:9464`.
    """

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        host, port = listener.server_address[:2]
        self.address = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
        self._thread = threading.Thread(
            target=listener.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; harmless when called again."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join(timeout=_PATIENCE_S)


def start(listen: str, registry: CollectorRegistry, ready: Callable[[], str]) -> Server:
    """Serve the metrics of a registry.

    Args:
        listen: `host:port`, an IPv6 host in brackets; port 0 takes any that is free.
        ready: asked for each `/ready`: "" when ready, else the reason, for a person to read. It is
            called from another thread, and must hold nothing that came in with an event.

    Raises:
        ConfigError: when that is no address, none of this machine's, or taken.

    >>> server = start("127.0.0.1:0", CollectorRegistry(), lambda: "")
    >>> server.address.startswith("127.0.0.1:")
    True
    >>> server.close()
    """
    host, port = _parse(listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return Server(_Listener(family, address, lambda path: _answer(path, registry, ready)))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            "the port is taken" if taken else f"can't listen there: {error.strerror or error}",
            where=f"{_SETTING} = {listen}",
            hint="end what listens there, or name another port" if taken else _HINT,
        ) from error


def _parse(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    whole = bare and (":" not in bare or host != bare)
    if not (whole and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ConfigError("not an address and port", where=f"{_SETTING} = {listen}", hint=_HINT)
    return bare, int(port)


def _answer(path: str, registry: CollectorRegistry, ready: Callable[[], str]) -> Answer:
    """What stands behind a path; a fault of ours is told without its trace."""
    try:
        if path == "/metrics":
            return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
        if path == "/ready":
            reason = ready()
            return Answer(503 if reason else 200, f"{reason or 'ready'}\n".encode())
    except Exception:
        # the state of the worker is unknown then: whoever asks must not take it for ready
        return Answer(503 if path == "/ready" else 500, b"no answer: a fault of the worker\n")
    return Answer(200, b"alive\n") if path == "/live" else Answer(404, b"not found\n")


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = _MOST_CLIENTS

    def __init__(self, family: int, address: Any, answer: Callable[[str], Answer]) -> None:
        self.address_family = family
        self.answer = answer
        self._places = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # no file handle left, perhaps: asking at once would spin
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or sent nothing in time, is no news."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        connection: socket.socket = self.request
        head = _head_of(connection)
        if head is None:
            return
        method, path = _request_line(head)
        if not method:
            answer = Answer(400, b"not HTTP\n")
        elif method != "GET" and path in PATHS:
            answer = Answer(405, b"only GET\n")
        else:
            answer = self.server.answer(path)
        lines = [
            f"HTTP/1.1 {answer.status} {_STATUS[answer.status]}",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(answer.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *(["Allow: GET"] if answer.status == 405 else []),
        ]
        connection.settimeout(_PATIENCE_S)
        body = b"" if method == "HEAD" else answer.body
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def _head_of(connection: socket.socket) -> bytes | None:
    """The request up to its empty line; None when it doesn't come in time or is too long."""
    until_s = time.monotonic() + _PATIENCE_S
    head = b""
    while b"\r\n\r\n" not in head:
        left_s = until_s - time.monotonic()
        if left_s <= 0 or len(head) > _MOST_HEAD_BYTES:
            return None
        connection.settimeout(left_s)
        part = connection.recv(_MOST_HEAD_BYTES)
        if not part:
            return None
        head += part
    return head


def _request_line(head: bytes) -> tuple[str, str]:
    """Method and path, without a query; two empty strings when it isn't HTTP."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[0].isalpha():
        return "", ""
    return words[0], words[1].partition("?")[0]
