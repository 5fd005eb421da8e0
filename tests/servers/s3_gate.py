"""A proxy before S3 that records requests, and answers in place of S3 on request.

    with S3Gate(folder, port) as gate:
        gate.refuse(503, "SlowDown", path=r"[.]parquet$")

It is a process of its own: delta-rs holds the interpreter's lock while it uploads rows, so that a
thread of this process couldn't answer.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from claimtrace.closing import Closing
from tests.servers.broker import HOST, dies_with_us

ROOT = Path(__file__).resolve().parents[2]


class Asked(NamedTuple):
    """A request that was received."""

    method: str
    path: str
    if_none_match: str


class S3Gate(Closing):
    """A running gate before the server at port `upstream`."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self._rule, self._log = folder / "rule.json", folder / "asked.log"
        self._rule.write_text("{}")
        self._log.touch()
        command = [*dies_with_us(), sys.executable, "-m", __name__, str(folder), str(upstream)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = f"http://{HOST}:{int(self._process.stdout.readline())}"

    def refuse(self, status: int, code: str, *, methods: str = "GET PUT POST HEAD DELETE",
               path: str = "", done: bool = False) -> None:  # fmt: skip
        """Refuse matching requests from now on; with `done` only after S3 has executed them."""
        rule = {"status": status, "code": code, "methods": methods.split(), "path": path,
                "done": done}  # fmt: skip
        self._set(json.dumps(rule))

    def ignore_conditions(self) -> None:
        """Forward requests without `If-None-Match`, as a server that doesn't know it."""
        self._set('{"plain": true}')

    def open(self) -> None:
        """Forward all requests again."""
        self._set("{}")

    def asked(self) -> list[Asked]:
        """Return all requests so far."""
        return [Asked(*json.loads(line)) for line in self._log.read_text().splitlines()]

    def _set(self, rule: str) -> None:
        aside = self._rule.with_suffix(".new")
        aside.write_text(rule)
        aside.replace(self._rule)

    def close(self) -> None:
        """Kill the gate's process."""
        self._process.kill()
        self._process.communicate()


def handler(folder: Path, upstream: int) -> type[BaseHTTPRequestHandler]:
    """Return the class of the gate's request handlers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # boto3 awaits 100-continue, for a second without an answer
        wbufsize, disable_nagle_algorithm = 1 << 16, True

        def handle_expect_100(self) -> bool:
            found = super().handle_expect_100()
            self.wfile.flush()
            return found

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            with (folder / "asked.log").open("a") as log:
                asked = Asked(self.command, path, self.headers.get("If-None-Match", ""))
                log.write(json.dumps(asked) + "\n")
            rule = json.loads((folder / "rule.json").read_text())
            if rule.get("plain"):
                del self.headers["If-None-Match"]
                self._answer(*self._forward(body))
            elif rule and self.command in rule["methods"] and re.search(rule["path"], path):
                if rule["done"]:
                    self._forward(body)
                xml = f"<Error><Code>{rule['code']}</Code></Error>".encode()
                self._answer(rule["status"], {}, xml)
            else:
                self._answer(*self._forward(body))

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            to = http.client.HTTPConnection(HOST, upstream, timeout=20)
            headers = {n: v for n, v in self.headers.items() if n.lower() != "expect"}
            to.request(self.command, self.path, body, headers)
            answer = to.getresponse()
            found = answer.status, dict(answer.getheaders()), answer.read()
            to.close()
            return found

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            lower = {name.lower(): value for name, value in headers.items()}
            lower.setdefault("content-length", str(len(body)))
            self.send_response_only(status)
            for name, value in lower.items():
                if name not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return Handler


def main() -> None:
    """Serve until killed; the first line printed is the port."""
    folder, upstream = Path(sys.argv[1]), int(sys.argv[2])
    server = ThreadingHTTPServer((HOST, 0), handler(folder, upstream))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
