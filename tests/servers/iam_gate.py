"""A proxy before the local stand-ins for AWS that enforces the IAM policies of callers.

    with Gate({"kinesis": kinesis.endpoint, "s3": aws.endpoint}, ACCOUNT) as gate:
        gate.policies["worker"] = Policy.read(...)      # by the id of the access key
        ...                                             # clients get gate.endpoint as their URL
        gate.used("worker"), gate.refused("worker")

Signatures aren't verified: the caller is taken from the access key. All requests reach the
stand-ins with the same access key, since some of them keep the data of callers apart.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from claimtrace.closing import Closing
from tests.servers.broker import HOST
from tests.servers.iam_http2 import serve_http2
from tests.servers.iam_policy import Asked, Grant, Policy
from tests.servers.iam_requests import Asking, Request

_TIMEOUT_S: Final = 60.0
_ONE_HOP: Final = frozenset(
    {"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"}
)
"""Headers that aren't forwarded."""
_SEEN_AS: Final = "local"

Altering = Callable[[list[Asked], bytes], bytes]


class Answer(NamedTuple):
    """A response: a body, or an iterator over parts of one."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    parts: Iterator[bytes] | None = None


@dataclass(frozen=True)
class Seen:
    """A permission that a request needed, and the grants that allowed it; none: it was refused."""

    caller: str
    asked: Asked
    grants: tuple[Grant, ...]


class Gate(Closing):
    """One gate before several services.

    Args:
        services: the URL of each, by the name in signatures (`monitoring` is CloudWatch).
        account: the AWS account that owns the resources.
    """

    def __init__(self, services: Mapping[str, str], account: str) -> None:
        self.services, self.asking = dict(services), Asking(account)
        self.account, self.policies = account, dict[str, Policy]()
        self.alter: Altering = lambda _, answer: answer
        """Changes answers of S3: for conditions that take days, such as old files."""
        self.faults: list[BaseException] = []
        """Exceptions in the gate itself."""
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._server = _Server((HOST, 0), _Handler)
        self._server.gate = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """The gate's URL, for every service."""
        return f"http://{HOST}:{self._server.server_port}"

    def decide(self, caller: str, asked: Asked) -> bool:
        """Whether the caller's policy allows a permission; every call is recorded."""
        grants = tuple(self.policies[caller].decide(asked)) if caller in self.policies else ()
        with self._lock:
            self._seen.append(Seen(caller, asked, grants))
        return bool(grants)

    def used(self, caller: str) -> set[Grant]:
        """Return the grants of its policy that a caller has used."""
        with self._lock:
            return {grant for each in self._seen if each.caller == caller for grant in each.grants}

    def refused(self, caller: str) -> list[Asked]:
        """Return the permissions that a caller was refused."""
        with self._lock:
            return [e.asked for e in self._seen if e.caller == caller and not e.grants]

    def answer(self, request: Request) -> Answer:
        """Return the service's answer, or a refusal."""
        asked = self.asking.of(request)
        for each in asked:
            if not self.decide(request.caller, each):
                return refusal(request.service, self._refusal(request, each))
        return self._passed_on(request, asked)

    def _passed_on(self, request: Request, asked: list[Asked]) -> Answer:
        port = urlsplit(self.services[request.service]).port or 80
        connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
        headers = {n: v for n, v in request.headers.items() if n not in _ONE_HOP}
        headers["authorization"] = headers["authorization"].replace(
            f"Credential={request.caller}/", f"Credential={_SEEN_AS}/"
        )
        connection.request(request.method, request.target, request.body, headers)
        response = connection.getresponse()
        kept = [(n, v) for n, v in response.getheaders() if n.lower() not in _ONE_HOP]
        if "eventstream" in response.getheader("content-type", ""):
            return Answer(response.status, kept, parts=_parts(connection, response))
        with closing(connection):
            body = response.read()
        if request.service == "s3":
            if response.status == 404 and (unseen := self._hidden(request, asked[0])) is not None:
                return refusal("s3", self._refusal(request, unseen))
            if request.method == "HEAD":
                kept.append(("content-length", response.getheader("content-length", "0")))
            body = self.alter(asked, body)
        if response.status == 200:
            self.asking.remember(request, body)
        return Answer(response.status, kept, body)

    def _hidden(self, request: Request, asked: Asked) -> Asked | None:
        """Return the missing permission to learn that an object doesn't exist, if it is missing.

        S3 answers 404 only to a caller that may list the bucket, else 403.
        """
        if asked.action != "s3:GetObject":
            return None
        listing = Asked("s3:ListBucket", asked.resource.partition("/")[0])
        return None if self.decide(request.caller, listing) else listing

    def _refusal(self, request: Request, asked: Asked) -> str:
        who = f"arn:aws:sts::{self.account}:assumed-role/{request.caller}/test"
        return (
            f"User: {who} is not authorized to perform: {asked.action} on resource: "
            f"{asked.resource} because no identity-based policy allows the {asked.action} action"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    gate: Gate

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Record an exception, unless a client disconnected: a fault of the gate or of a test."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.gate.faults.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    raw_requestline: bytes

    def parse_request(self) -> bool:
        """Parse a request, or serve the connection if it begins with HTTP/2 (a subscription)."""
        if not self.raw_requestline.startswith(b"PRI "):
            return super().parse_request()
        self.close_connection = True
        with suppress(ConnectionError):
            serve_http2(self.connection, self.raw_requestline, self.rfile, self.server.gate.answer)
        return False

    def handle_any(self) -> None:
        """Answer one request: forward or refuse it."""
        status, headers, body, parts = self.server.gate.answer(self._request())
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if parts is not None:
            self.send_header("transfer-encoding", "chunked")
        elif self.command != "HEAD":
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body)
        for part in parts or ():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        if parts is not None:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _request(self) -> Request:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, self.path, headers, body)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def refusal(service: str, text: str) -> Answer:
    """Return the response with which a service denies access."""
    error = f"<Code>AccessDenied</Code><Message>{text}</Message>"
    if service == "s3":
        xml = [("content-type", "application/xml")]
        return Answer(403, xml, f"<Error>{error}</Error>".encode())
    if service == "sns":
        error = f"<Type>Sender</Type>{error.replace('AccessDenied', 'AuthorizationError')}"
        body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
        return Answer(403, [("content-type", "text/xml")], body.encode())
    document = {"__type": "AccessDeniedException", "message": text}
    return Answer(
        400, [("content-type", "application/x-amz-json-1.1")], json.dumps(document).encode()
    )


def _parts(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Iterator[bytes]:
    with closing(connection):
        while part := response.read1(1 << 14):
            yield part
