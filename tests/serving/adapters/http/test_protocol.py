"""Connections of a real server: headers too large or too slow, bytes that are no HTTP, TLS."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from claimtrace.errors import ConfigError
from serving.adapters.http.protocol import LimitedProtocol
from serving.adapters.http.tls import check_tls_files
from tests.servers.certificates import Authority
from tests.servers.fetch import ServerMissing

BODY = b"HTTP/1.1 200 OK"


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2"), (b"x-count", b"%d" % len(scope["headers"]))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class Quick(LimitedProtocol):
    """The same with a time that a test can wait for."""

    header_time_s = 0.5
    body_time_s = 0.5


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=Quick, ws="none", lifespan="off", log_level="error",
        server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    started = threading.Event()

    async def serve() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        started.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(60)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(30)


def answer_to(address: tuple[str, int], *pieces: bytes, until: bytes = b"") -> bytes:
    """Send pieces, and return all that comes until the server closes or `until` came."""
    with socket.create_connection(address, timeout=60) as connection:
        found = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while part := connection.recv(65_536):
                found += part
                if until and until in found:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass
    return found


def test_a_usual_request_is_answered_and_the_connection_kept(address: tuple[str, int]) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    found = answer_to(address, request, request, until=b"ok")
    assert found.startswith(BODY)


def test_headers_without_an_end_are_cut_off(address: tuple[str, int]) -> None:
    flood = [b"GET / HTTP/1.1\r\n", *[b"x-a: " + b"b" * 1_000 + b"\r\n"] * 100]
    found = answer_to(address, *flood)
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")


def test_one_header_without_an_end_is_cut_off(address: tuple[str, int]) -> None:
    found = answer_to(address, b"GET / HTTP/1.1\r\nx-a: ", *[b"b" * 10_000] * 20)
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("piece", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_request_that_never_ends_is_closed(address: tuple[str, int], piece: bytes) -> None:
    found = answer_to(address, piece)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"x-content-type-options: nosniff" in found


def test_a_second_request_that_never_ends_is_closed(address: tuple[str, int]) -> None:
    found = answer_to(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HT")
    assert found.startswith(BODY)
    assert b"HTTP/1.1 408 " in found


def test_a_body_that_never_begins_is_closed(address: tuple[str, int]) -> None:
    found = answer_to(address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 408 ")


def test_bytes_that_are_no_http_are_refused_with_the_headers(address: tuple[str, int]) -> None:
    found = answer_to(address, b"\x16\x03\x01 hello\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 400 ")
    assert b"content-security-policy: default-src 'none'" in found
    assert b"hello" not in found


def test_trailers_are_dropped(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = b"x-t: 1\r\n" * 1_000
    found = answer_to(address, head, b"2\r\nab\r\n0\r\n", trailers + b"\r\n", until=b"ok")
    assert b"x-count: 2" in found


def test_two_lengths_are_refused(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answer_to(address, head + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except ServerMissing as missing:
        pytest.skip(str(missing))


def test_a_certificate_and_its_key_are_taken(authority: Authority) -> None:
    certificate, key = authority.sign("localhost")
    key.chmod(0o600)
    assert check_tls_files(certificate, key) == []
    key.chmod(0o644)
    (weak,) = check_tls_files(certificate, key)
    assert "read by other users" in weak


def test_files_that_do_not_belong_together_are_refused(authority: Authority) -> None:
    certificate, key = authority.sign("one")
    _, other = authority.sign("two")
    locked = authority.folder / "locked.key"
    command = "openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked)
    subprocess.run(command, check=True, capture_output=True)
    for pair in ((certificate, other), (key, key), (certificate, locked),
                 (certificate, authority.folder / "none")):  # fmt: skip
        with pytest.raises(ConfigError) as refused:
            check_tls_files(*pair)
        assert refused.value.where.startswith("serve.tls_")
