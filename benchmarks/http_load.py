"""Load an HTTP server: some connections, each with one request after the other; bodies are checked.

The client is a process's one event loop with `httptools`; its own CPU isn't counted. A check of
each answer's body is part of every load: a server that answers quickly with an error is not quick.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any, NamedTuple

import httptools

from claimtrace.errors import StateError

Check = Callable[[int, bytes, bytes], str]
"""Given status, request and answer: what is wrong with it; "" when nothing is."""


class Loaded(NamedTuple):
    """Requests that were answered in a time, with their times."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    """One connection: sends a request, waits for the whole answer, sends the next."""

    def __init__(self, load: _Load) -> None:
        self._load, self._parser = load, httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._request = b""
        self._began_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        took_s = time.perf_counter() - self._began_s
        self._load.answered(
            self._parser.get_status_code(), self._request, b"".join(self._parts), took_s
        )
        self._parts.clear()
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(exc)

    def _send(self) -> None:
        request = self._load.next_request()
        if request is None:
            self._transport.close()
            return
        head, self._request = request
        self._began_s = time.perf_counter()
        self._transport.write(head + self._request)


class _Load:
    """Hands out requests until the time is over, and keeps what was answered."""

    def __init__(self, path: str, bodies: Iterator[bytes], seconds: float, check: Check) -> None:
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        )
        self._bodies, self._check = bodies, check
        self._until_s = time.perf_counter() + seconds
        self.times_s: list[float] = []
        self.wrong = ""
        self.open = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_request(self) -> tuple[bytes, bytes] | None:
        if self.wrong or time.perf_counter() > self._until_s:
            return None
        body = next(self._bodies)
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode(), body

    def answered(self, status: int, request: bytes, answer: bytes, took_s: float) -> None:
        self.times_s.append(took_s)
        self.wrong = self.wrong or self._check(status, request, answer)

    def lost(self, error: Exception | None) -> None:
        self.open -= 1
        if error is not None:
            self.wrong = self.wrong or f"the connection broke: {error}"
        if not self.open and not self.ended.done():
            self.ended.set_result(None)


def load(
    port: int, path: str, bodies: Iterator[bytes], connections: int, seconds: float, check: Check
) -> Loaded:
    """Send requests for some seconds.

    Args:
        port: of the server, on 127.0.0.1.
        path: of each request, which is a POST of JSON.
        bodies: a body for each request; it must not end.
        connections: how many requests are under way at once.
        seconds: for how long requests are begun.
        check: looks at each answer.

    Raises:
        StateError: an answer was wrong.
    """

    async def run() -> Loaded:
        loop, began_s = asyncio.get_running_loop(), time.perf_counter()
        sent = _Load(path, bodies, seconds, check)
        sent.open = connections
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(sent), "127.0.0.1", port)
        await asyncio.wait_for(sent.ended, seconds + 120)
        if sent.wrong:
            raise StateError(f"a wrong answer: {sent.wrong[:300]}", where=path)
        return _summary(sent.times_s, time.perf_counter() - began_s)

    return asyncio.run(run())


def _summary(times_s: list[float], seconds: float) -> Loaded:
    """Summarise requests.

    >>> _summary([0.001] * 99 + [0.5], 2.0)
    Loaded(requests=100, seconds=2.0, p50_ms=1.0, p99_ms=495.01)
    """
    cuts: list[Any] = quantiles(times_s, n=100) if len(times_s) > 1 else [times_s[0]] * 99
    return Loaded(len(times_s), seconds, round(1e3 * cuts[49], 3), round(1e3 * cuts[98], 3))
