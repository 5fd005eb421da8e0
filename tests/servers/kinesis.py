"""Streams without AWS: kinesis-local, a single file for Node, on 127.0.0.1 for tests.

    with KinesisLocal(folder) as kinesis:
        client = kinesis.client()

The server splits and merges shards, ends their parents and lists both as Kinesis does. It doesn't
throttle, accepts more than 500 records at once, and its iterators don't expire: tests inject these
faults with hooks of the client (`tests/servers/kinesis_faults.py`).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from claimtrace.errors import StoreUnavailable
from tests.servers.aws_local import READY_TIMEOUT_S, REGION, AwsLocal
from tests.servers.broker import HOST, free_ports
from tests.servers.fetch import ServerMissing, fetched_once, run_fetch

PACKAGE: Final = "kinesis-local"
VERSION: Final = "0.6.2"
SHA256: Final = "7f450e244b3c609b640b22ab005c9fdeaeb6e49d72403a3b6ebd9c3270b32cb5"
NODE_AT_LEAST: Final = 18

_LOOPBACK: Final = f"""\
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {{
  if (typeof given[0] === 'object' && given[0] !== null) given[0].host = '{HOST}';
  else if (typeof given[1] === 'string') given[1] = '{HOST}';
  else given.splice(1, 0, '{HOST}');
  return listen.apply(this, given);
}};
"""
"""Loaded before the server, which would listen on every interface otherwise."""

_QUICK: Final = {
    f"{name}_DURATION": "20ms"
    for name in (
        "CREATE_STREAM", "DELETE_STREAM", "REGISTER_STREAM_CONSUMER", "DEREGISTER_STREAM_CONSUMER",
        "MERGE_SHARDS", "SPLIT_SHARD", "UPDATE_SHARD_COUNT",
    )
}  # fmt: skip


def node() -> str:
    """Return the path of a Node that kinesis-local can run on.

    Raises:
        ServerMissing: Node isn't installed, or is older than 18.
    """
    path = shutil.which("node")
    if path is None:
        raise ServerMissing("there is no node", where="PATH", hint="install Node 18 or newer")
    printed = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)", printed)
    if found is None or int(found[1]) < NODE_AT_LEAST:
        raise ServerMissing(
            f"kinesis-local needs Node {NODE_AT_LEAST}, this is {printed}", where=path
        )
    return path


def program() -> Path:
    """Return the folder of kinesis-local; downloaded if missing (3 MB), and its digest checked.

    Raises:
        ServerMissing: npm isn't installed, the download failed, or its digest isn't the pinned one.
    """
    return fetched_once(PACKAGE, SHA256.encode(), _bring)


def _bring(aside: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ServerMissing("there is no npm to fetch kinesis-local with", where="PATH")
    run_fetch(PACKAGE, [
        npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(aside),
    ])  # fmt: skip
    packed = aside / f"{PACKAGE}-{VERSION}.tgz"
    if hashlib.sha256(packed.read_bytes()).hexdigest() != SHA256:
        raise ServerMissing(f"{PACKAGE} {VERSION} is not the one that was pinned")
    with tarfile.open(packed) as archive:
        archive.extractall(aside, filter="data")
    unpacked = aside / "package"
    (unpacked / "loopback.js").write_text(_LOOPBACK)
    return unpacked


class KinesisLocal(AwsLocal):
    """One Kinesis server with its streams in memory."""

    name, service = "kinesis", "kinesis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self._tls_port,) = free_ports(1)

    def _command(self) -> list[str]:
        return [node(), "main.js"]

    def _home(self) -> Path:
        return program()

    def _environment(self) -> Mapping[str, str]:
        return {
            "NODE_OPTIONS": f"--require {program() / 'loopback.js'}",
            "KINESIS_MOCK_PLAIN_PORT": str(self.port),
            "KINESIS_MOCK_TLS_PORT": str(self._tls_port),
            "AWS_REGION": REGION,
            "SHARD_LIMIT": "10000",
            "LOG_LEVEL": "ERROR",
            **_QUICK,
        }

    def _ask(self, client: Any) -> None:
        client.list_streams()


def create_streams(client: Any, shards: dict[str, int]) -> None:
    """Create streams, `{name: shards}`, and wait until they are active."""
    for name, count in shards.items():  # one by one: more than five at a time are refused
        client.create_stream(StreamName=name, ShardCount=count)
        wait_until_active(client, name)


def wait_until_active(client: Any, name: str) -> None:
    """Wait until a stream is neither being created nor being changed."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until_s:
        summary = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return
        time.sleep(0.02)
    raise StoreUnavailable("the stream isn't active", where=name)
