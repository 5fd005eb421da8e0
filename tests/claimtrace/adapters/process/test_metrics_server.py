"""Metrics over HTTP: three paths, slow clients are disconnected, answers expose no internals."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from claimtrace.adapters.process import metrics_server
from claimtrace.adapters.process.metrics_server import start
from claimtrace.errors import ConfigError


class Worker:
    """A server of a registry with one counter, whose readiness the test sets (`reason`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Counter("claimtrace_probe_total", "A probe.", registry=self.registry).inc(3)
        self.reason = ""
        self.server = start("127.0.0.1:0", self.registry, self.ready)
        host, port = self.server.address.rsplit(":", 1)
        self.host_and_port = host, int(port)

    def ready(self) -> str:
        if self.reason == "broken":
            raise RuntimeError("secret insides")
        return self.reason

    def get(self, path: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection(*self.host_and_port, timeout=5)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(self.host_and_port, timeout=5) as connection:
            connection.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(4096):
                    answer += part
            return answer


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.server.close()


def test_metrics_are_what_prometheus_reads(worker):
    status, body, headers = worker.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert families["claimtrace_probe"].samples[0].value == 3
    assert worker.get("/metrics?name[]=x")[0] == 200


def test_ready_gives_the_reason(worker):
    assert worker.get("/ready")[:2] == (200, "ready\n")
    worker.reason = "waiting for the broker"
    assert worker.get("/ready")[:2] == (503, "waiting for the broker\n")
    assert worker.get("/live")[:2] == (200, "alive\n")


def test_a_fault_of_ours_is_not_ready_and_shows_nothing(worker, monkeypatch):
    worker.reason = "broken"
    status, body, _ = worker.get("/ready")
    assert status == 503
    assert "secret" not in body
    assert "Traceback" not in body

    def fails(_: CollectorRegistry) -> bytes:
        raise ValueError("secret insides")

    monkeypatch.setattr(metrics_server, "generate_latest", fails)
    status, body, _ = worker.get("/metrics")
    assert status == 500
    assert "secret" not in body
    assert worker.get("/live")[0] == 200


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/metrics/..", "//metrics", "/Ready", "/../etc/passwd", "/%6cive"]
)
def test_any_other_path_is_not_found(worker, path):
    status, body, _ = worker.get(path)
    assert (status, body) == (404, "not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_only_get(worker, method):
    status, body, headers = worker.get("/ready", method)
    assert status == 405
    assert headers["Allow"] == "GET"
    assert body == ("" if method == "HEAD" else "only GET\n")


@pytest.mark.parametrize(
    "request_line",
    [b"\r\n\r\n", b"GET /live\r\n\r\n", b"GET /live HTTP/2\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n",
     b"GET  /live HTTP/1.1\r\n\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_refused(worker, request_line):
    assert worker.raw(request_line).startswith(b"HTTP/1.1 400 ")


def test_an_endless_head_is_cut_off(worker):
    assert worker.raw(b"GET /live HTTP/1.1\r\nX: " + b"x" * 20_000) == b""
    assert worker.get("/live")[0] == 200


@pytest.mark.slow
def test_clients_that_hang_are_let_go(monkeypatch):
    """With more silent or slow clients than are served at a time, the next one is answered soon."""
    monkeypatch.setattr(metrics_server, "_PATIENCE_S", 0.3)
    worker = Worker()
    hanging = [socket.create_connection(worker.host_and_port) for _ in range(40)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            for each in hanging[::2]:
                with contextlib.suppress(OSError):
                    each.sendall(b"G")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        status = 0
        for _ in range(50):
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = worker.get("/live")[0]
            if status:
                break
            stop.wait(0.1)
        assert status == 200
        for each in hanging:
            each.settimeout(5)
            with contextlib.suppress(ConnectionError):
                assert each.recv(1) == b"", "the server hangs up"
    finally:
        stop.set()
        dripping.join()
        for each in hanging:
            each.close()
        worker.server.close()


def test_a_client_that_leaves_is_no_news(worker, capfd):
    for request in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n"):
        with socket.create_connection(worker.host_and_port) as connection:
            connection.sendall(request)
    assert worker.get("/live")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_busy_port_is_an_error_with_a_hint(worker):
    with pytest.raises(ConfigError, match="the port is taken") as raised:
        start(worker.server.address, worker.registry, lambda: "")
    assert raised.value.hint
    assert worker.server.address in raised.value.where


@pytest.mark.parametrize(
    "listen",
    ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:9464",
     "127.0.0.1:-1", "[]:1", "127.0.0.1:٣"],
)  # fmt: skip
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(ConfigError, match="not an address") as raised:
        start(listen, CollectorRegistry(), lambda: "")
    assert "127.0.0.1:9464" in raised.value.hint


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match="can't listen there"):
        start("192.0.2.1:9464", CollectorRegistry(), lambda: "")


def test_it_is_gone_after_close():
    worker = Worker()
    worker.server.close()
    worker.server.close()
    with pytest.raises(OSError):
        worker.get("/live")
    start(worker.server.address, worker.registry, lambda: "").close()


def test_ipv6():
    try:
        server = start("[::1]:0", CollectorRegistry(), lambda: "")
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    assert server.address.startswith("[::1]:")
    server.close()
