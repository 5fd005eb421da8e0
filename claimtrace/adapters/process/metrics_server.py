"""Metrics and probes over HTTP: `/metrics` for Prometheus, `/ready` and `/live` for orchestrators.

One request a connection is answered, from a daemon thread, and no client can block the server: each
has a few seconds in total to send its request, and only a limited number is served at a time.
Nothing here holds personal data (see `stream.adapters.reporting.prometheus`), so the server may
listen beyond this machine when asked to.
"""

from __future__ import annotations

import errno
import io
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ...closing import Closing
from ...errors import ConfigError

PATHS: Final = ("/metrics", "/ready", "/live")

_PATIENCE_S: Final = 5.0
"""Time for the whole request, and again for the whole answer."""
_MOST_CLIENTS: Final = 16
_MOST_HEAD_BYTES: Final = 8 * 1024
_REQUEST_LINE: Final = re.compile(rb"[A-Za-z]+ ([^ ]*) HTTP/1\.[^ ]*\r\n")
_SETTING: Final = "metrics.listen"
_PLAIN: Final = "text/plain; charset=utf-8"
_HINT: Final = "write 127.0.0.1:9464"


class Answer(NamedTuple):
    """A status and a body in plain text or in the exposition format."""

    status: int
    body: bytes
    kind: str = _PLAIN


def start(listen: str, registry: CollectorRegistry, ready: Callable[[], str]) -> MetricsServer:
    """Serve the metrics of a registry.

    Args:
        listen: `host:port`, an IPv6 host in brackets; port 0 takes a free one.
        ready: called for each `/ready`: "" when ready, else the reason, for a person to read. The
            call comes from another thread, and its answer must hold nothing taken from an event.

    Raises:
        ConfigError: `listen` is no address, not one of this machine, or in use.

    >>> with start("127.0.0.1:0", CollectorRegistry(), lambda: "") as server:
    ...     server.address.startswith("127.0.0.1:")
    True
    """
    host, port = _parse(listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return MetricsServer(family, address, lambda path: _answer(path, registry, ready))
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
    """Return the answer for a path; an exception of ours is reported without its traceback."""
    try:
        if path == "/metrics":
            return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
        if path == "/ready":
            reason = ready()
            return Answer(503 if reason else 200, f"{reason or 'ready'}\n".encode())
    except Exception:
        # the state of the worker is unknown then: an orchestrator must not take it for ready
        return Answer(503 if path == "/ready" else 500, b"no answer: a fault of the worker\n")
    return Answer(200, b"alive\n") if path == "/live" else Answer(404, b"not found\n")


class MetricsServer(Closing, socketserver.ThreadingTCPServer):
    """A running server; made by `start`.

    It serves `_MOST_CLIENTS` clients at a time and closes further connections at once. Not a
    `ThreadingHTTPServer`: that looks its own host name up in DNS, and the start of a worker must
    not wait for a name server.

    Attributes:
        address: the address it is bound to, such as `127.0.0.1:9464`.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = _MOST_CLIENTS

    def __init__(self, family: int, address: Any, answer: Callable[[str], Answer]) -> None:
        self.address_family = family
        self.answer = answer
        self._free = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(address, _Handler)
        host, port = self.server_address[:2]
        self.address = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; harmless when called again."""
        self.shutdown()
        self.server_close()
        self._thread.join(timeout=_PATIENCE_S)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # no file handle left, perhaps: asking at once would spin
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether fewer than `_MOST_CLIENTS` are being served; else the connection is closed."""
        return self._free.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection."""
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection and close it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect or don't send their request in time."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; neither the answer nor its headers tell what the server runs on."""

    server: MetricsServer
    protocol_version = default_request_version = request_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a small body would wait for the acknowledgement of the head
    command = ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_DeadlineReader(self.connection))

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline()
        # Stricter than `parse_request`, which takes two spaces and HTTP/0.9, and makes / of //
        line = _REQUEST_LINE.fullmatch(self.raw_requestline)
        if line is None:
            self.send_error(400)
        elif self.parse_request():
            path = line[1].decode("latin-1").partition("?")[0]
            if self.command != "GET" and path in PATHS:
                self._send(Answer(405, b"only GET\n"))
            else:
                self._send(self.server.answer(path))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse what isn't HTTP; the standard page would repeat what was sent."""
        self._send(Answer(400, b"not HTTP\n"))

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(_PATIENCE_S)  # `sendall` counts it for all bytes together
        self.send_response_only(answer.status)  # without the headers Server and Date
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        if answer.status == 405:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


class _DeadlineReader(io.RawIOBase):
    """A socket to read from, with one deadline and one limit of bytes for the whole request.

    `StreamRequestHandler.timeout` is for each read: a client that sends a byte now and then could
    hold a thread for ever.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._left_bytes = connection, _MOST_HEAD_BYTES
        self._end_s = time.monotonic() + _PATIENCE_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0 or self._left_bytes <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer)
        self._left_bytes -= count
        return count
