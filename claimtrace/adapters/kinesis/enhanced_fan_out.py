"""Subscribe to a shard: Kinesis' enhanced fan-out, which pushes records over HTTP/2.

AWS requires HTTP/2 for this call, which boto3's own connections don't speak. The client still finds
the endpoint, signs, and parses refusals; only the sending is ours, in the client's hook
`before-send`. Events are decoded by a typed decoder like pages (`fast_json`).
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Final

import msgspec
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError

from ...errors import ConfigError
from .fast_json import Page

_OPERATION: Final = "SubscribeToShard"
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Maximum size of one message; AWS sends a few megabytes at the most."""
_CONNECT_S, _SILENT_S = 5.0, 20.0
"""Time-outs of connecting and reading: a shard without records sends an empty event every few
seconds."""
_LENGTH_BYTES: Final = 4


class Pushed(Page):
    """The records of one event of a subscription.

    `ContinuationSequenceNumber` is the position where the next subscription continues; all records
    before it were sent.
    """

    ContinuationSequenceNumber: str | None = None


_events = msgspec.json.Decoder(Pushed)
_opening = threading.local()
"""The body that this thread has opened: `body`, from `_send` to `_subscribed`."""


class Broken(BotoCoreError):  # type: ignore[misc]
    """An answer that is no stream of events."""

    fmt = "the subscription broke: {why}"


class TakenOver(ClientError):  # type: ignore[misc]
    """An error because another connection subscribed to the same shard as the same consumer."""


def pushes(
    client: Any, consumer_arn: str, shard_id: str, start: dict[str, str]
) -> Generator[Pushed, None, None]:
    """Subscribe to a shard and yield its events until AWS ends the subscription.

    AWS ends a subscription after five minutes at the latest.

    Args:
        client: boto3's client of Kinesis.
        consumer_arn: the registered consumer.
        shard_id: the shard.
        start: the service's starting position, such as `{"Type": "TRIM_HORIZON"}`.

    Raises:
        ConfigError: the package for HTTP/2 isn't installed.
        ClientError: AWS refuses; `TakenOver` when another connection took over the subscription.
        BotoCoreError: there is no connection, or it broke.
    """
    _require_http2()
    client.meta.events.register(
        f"before-send.kinesis.{_OPERATION}", _send, unique_id="http2-subscribe"
    )
    with closing(_subscribed(client, consumer_arn, shard_id, start)) as body:
        for message in body.stream():
            event = _event(message)
            if event is not None:
                yield event


def _subscribed(client: Any, consumer_arn: str, shard_id: str, start: dict[str, str]) -> _Body:
    try:
        client.subscribe_to_shard(
            ConsumerARN=consumer_arn, ShardId=shard_id, StartingPosition=start
        )
    except Exception as error:
        _close_opened()
        if isinstance(error, ResponseParserError):
            raise Broken(why="it didn't begin; can this server push?") from error
        raise
    body: _Body = _opening.body
    _opening.body = None
    return body


def _require_http2() -> None:
    try:
        import h2  # noqa: F401
        import httpx  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "enhanced fan-out needs HTTP/2", where="kinesis.fan_out",
            hint="pip install 'claimtrace[fanout]', or leave kinesis.fan_out empty",
        ) from error  # fmt: skip


class _Body:
    """The body of an answer, read first by the client and then by us; message by message if 200.

    The client reads the first message, which confirms the subscription.
    """

    def __init__(self, connection: Any, response: Any) -> None:
        self._connection, self._response = connection, response
        self._chunks = self._read()
        self._rest = bytearray()

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """Yield the messages of a stream, or the chunks of a refusal."""
        if self._response.status_code != 200:
            yield from self._chunks
            return
        while True:
            found = self._message()
            if found is None:
                return
            yield found

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def _message(self) -> bytes | None:
        while not self._is_whole():
            chunk = next(self._chunks, None)
            if chunk is None:
                return None  # AWS has ended the stream; half a message comes again in the next one
            self._rest += chunk
        length = self._length()
        found = bytes(self._rest[:length])
        del self._rest[:length]
        return found

    def _is_whole(self) -> bool:
        return len(self._rest) >= _LENGTH_BYTES and len(self._rest) >= self._length()

    def _length(self) -> int:
        length = int.from_bytes(self._rest[:_LENGTH_BYTES], "big")
        if not _LENGTH_BYTES < length <= _MOST_BYTES:
            raise Broken(why=f"a message of {length} bytes")
        return length

    def _read(self) -> Iterator[bytes]:
        import httpx

        try:
            yield from self._response.iter_raw()
        except httpx.HTTPError as error:
            raise NoConnection(error=error) from error


def _send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    import httpx

    headers = [(name, _text(value)) for name, value in request.headers.items()]
    # prior knowledge: a server that doesn't speak HTTP/2 isn't Kinesis
    connection = httpx.Client(
        http1=False, http2=True,
        verify=ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None),
        timeout=httpx.Timeout(_SILENT_S, connect=_CONNECT_S),
    )  # fmt: skip
    try:
        response = connection.send(
            httpx.Request(request.method, request.url, headers=headers, content=request.body),
            stream=True,
        )
    except httpx.HTTPError as error:
        connection.close()
        raise NoConnection(error=error) from error
    _close_opened()  # a refused attempt before this one: the client retries
    _opening.body = _Body(connection, response)
    return AWSResponse(request.url, response.status_code, dict(response.headers), _opening.body)


def _close_opened() -> None:
    body: _Body | None = getattr(_opening, "body", None)
    _opening.body = None
    if body is not None:
        body.close()


def _event(message: bytes) -> Pushed | None:
    buffer = EventStreamBuffer()  # verifies the checksums
    try:
        buffer.add_data(message)
        found: EventStreamMessage = next(buffer)
        if found.headers.get(":message-type") == "event":
            is_ours = found.headers.get(":event-type") == "SubscribeToShardEvent"
            return _events.decode(found.payload) if is_ours else None
    except (ParserError, msgspec.DecodeError) as error:
        raise Broken(why=error) from error  # handled like a broken connection
    code = found.headers.get(":exception-type") or found.headers.get(":error-code") or "Unknown"
    text = found.headers.get(":error-message") or found.payload.decode(errors="replace")
    refusal = TakenOver if code == "ResourceInUseException" else ClientError
    raise refusal({"Error": {"Code": str(code), "Message": str(text)}}, _OPERATION)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
