"""One HTTP/2 connection of the gate: a request and its streamed answer.

Enhanced fan-out is the one call that AWS accepts over HTTP/2 only
(`claimtrace.adapters.kinesis.enhanced_fan_out`).
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from itertools import chain
from typing import Any

from tests.servers.iam_requests import Request


def serve_http2(
    connection: socket.socket,
    begun: bytes,
    rest: io.BufferedIOBase,
    answer: Callable[[Request], Any],
) -> None:
    """Answer the request of a connection; returns when all is sent or the client disconnected.

    Args:
        connection: the socket.
        begun: bytes that were read from the connection already.
        rest: reads the bytes after them.
        answer: returns status, headers, body and further parts.
    """
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    spoken = H2Connection(H2Configuration(client_side=False))
    spoken.initiate_connection()
    connection.sendall(spoken.data_to_send())
    number, request = _request(connection, spoken, begun, rest)
    status, headers, body, parts = answer(request)
    fields = [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
    spoken.send_headers(number, fields)
    for part in chain((body,), parts or ()):
        _send(connection, spoken, rest, number, part)
    spoken.end_stream(number)
    connection.sendall(spoken.data_to_send())


def _request(
    connection: socket.socket, spoken: Any, begun: bytes, rest: io.BufferedIOBase
) -> tuple[int, Request]:
    from h2.events import DataReceived, RequestReceived, StreamEnded

    headers: dict[str, str] = {}
    body = b""
    came = begun
    while came:
        for event in spoken.receive_data(came):
            if isinstance(event, RequestReceived):
                headers = {_text(name): _text(value) for name, value in event.headers}
            elif isinstance(event, DataReceived):
                body += event.data
                spoken.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                method, target = headers[":method"], headers[":path"]
                plain = {n: v for n, v in headers.items() if not n.startswith(":")}
                plain["host"] = headers[":authority"]
                return event.stream_id, Request(method, target, plain, body)
        connection.sendall(spoken.data_to_send())
        came = rest.read1(1 << 16)
    raise ConnectionResetError("the client has gone")


def _send(
    connection: socket.socket, spoken: Any, rest: io.BufferedIOBase, number: int, part: bytes
) -> None:
    """Send a part as the client's flow-control window allows."""
    while part:
        room = min(spoken.local_flow_control_window(number), spoken.max_outbound_frame_size)
        if room:
            spoken.send_data(number, part[:room])
            part = part[room:]
        connection.sendall(spoken.data_to_send())
        if not room:
            came = rest.read1(1 << 16)
            if not came:
                raise ConnectionResetError("the client has gone")
            spoken.receive_data(came)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
