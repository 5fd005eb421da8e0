"""uvicorn's protocol with limits on what comes before a request is whole: bytes, and time."""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ...rights.headers import secured
from ...rights.limits import BODY_TIME_S, HEADER_TIME_S, MOST_HEADER_BYTES

_CLOSE: Final = b"connection: close\r\ncontent-length: 0\r\n"


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections whose headers are too large or too slow; a class for `http=` of uvicorn.

    httptools keeps headers in memory for as long as they come, and waits for them for ever, as it
    does for the first bytes of a body; the rest of a body is the application's to wait for.
    """

    header_time_s = HEADER_TIME_S
    body_time_s = BODY_TIME_S
    most_header_bytes = 2 * MOST_HEADER_BYTES
    """Twice of what the application takes, so that usual excess gets a whole answer."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_bytes = 0
        self._in_head, self._awaits_body = True, False
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first request's headers."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of headers while they come."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head:
            if self._head_bytes > self.most_header_bytes:
                self._refuse(b"431 Request Header Fields Too Large")
        elif self._awaits_body and self._timer is None:
            self._timer = self.loop.call_later(self.body_time_s, self._too_slow)

    def on_message_begin(self) -> None:
        """Start the time for a further request's headers, at its first byte."""
        super().on_message_begin()
        if self._timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Stop the time: the application has limits of its own for the rest."""
        self._in_head, self._head_bytes, self._awaits_body = False, 0, True
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Stop the time with the body's first bytes."""
        self._awaits_body = False
        self._stop_timer()
        super().on_body(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers behind a body, which nothing here reads, are dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_message_complete(self) -> None:
        """Wait for the headers of the next request, for as long as uvicorn keeps idle ones."""
        super().on_message_complete()
        self._in_head, self._awaits_body = True, False
        self._stop_timer()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it may repeat what was sent
        """Refuse bytes that are no HTTP."""
        self._refuse(b"400 Bad Request")

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.header_time_s, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        if self._awaits_body:
            if self.cycle.response_started:
                self.transport.close()
            else:
                self._refuse(b"408 Request Timeout")
        elif self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # the answer to the request before is still being written
        elif self._in_head:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        lines = [name + b": " + value for name, value in secured([], over_tls=False)]
        head = b"HTTP/1.1 " + status + b"\r\n" + b"\r\n".join(lines) + b"\r\n" + _CLOSE + b"\r\n"
        self.transport.write(head)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
