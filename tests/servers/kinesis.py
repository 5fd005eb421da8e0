"""Streams without AWS: kinesis-local, a single file for Node, on 127.0.0.1 for tests.

    with KinesisLocal(folder) as kinesis:
        client = kinesis.client()

It splits and merges shards, ends their parents and lists both as Kinesis does. It doesn't throttle,
takes more than 500 records at once, and its iterators don't expire: those come from hooks of the
client (`tests/servers/kinesis_faults.py`).
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from claimtrace.errors import StoreUnavailable
from tests.servers.broker import HOST, STARTER, dies_with_us, free_ports
from tests.servers.fetch import FETCH_TIMEOUT_S, ServerMissing, cache_folder

PACKAGE: Final = "kinesis-local"
VERSION: Final = "0.6.2"
SHA256: Final = "7f450e244b3c609b640b22ab005c9fdeaeb6e49d72403a3b6ebd9c3270b32cb5"
NODE_AT_LEAST: Final = 18
READY_TIMEOUT_S: Final = 60.0
REGION: Final = "eu-central-1"

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
"""Loaded before it: by itself it listens on every interface."""

_QUICK: Final = {
    f"{name}_DURATION": "20ms"
    for name in (
        "CREATE_STREAM", "DELETE_STREAM", "REGISTER_STREAM_CONSUMER", "DEREGISTER_STREAM_CONSUMER",
        "MERGE_SHARDS", "SPLIT_SHARD", "UPDATE_SHARD_COUNT",
    )
}  # fmt: skip


def node() -> str:
    """The path of a Node that kinesis-local can run on.

    Raises:
        ServerMissing: there is none, or it is older than 18.
    """
    path = shutil.which("node")
    if path is None:
        raise ServerMissing("there is no node", where="PATH", hint="install Node 18 or newer")
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)", said)
    if found is None or int(found[1]) < NODE_AT_LEAST:
        raise ServerMissing(f"kinesis-local needs Node {NODE_AT_LEAST}, this is {said}", where=path)
    return path


def program() -> Path:
    """The folder of kinesis-local; fetched when it isn't there yet (3 MB), and its digest checked.

    Raises:
        ServerMissing: there is no npm, the download failed, or it isn't what was pinned.
    """
    folder = cache_folder() / f"{PACKAGE}-{SHA256[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ServerMissing("there is no npm to fetch kinesis-local with", where="PATH")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as aside:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", aside]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, cwd=aside
            )
        except subprocess.TimeoutExpired as error:
            raise ServerMissing(f"{PACKAGE} did not come in {FETCH_TIMEOUT_S} s") from error
        packed = Path(aside) / f"{PACKAGE}-{VERSION}.tgz"
        if done.returncode != 0 or not packed.exists():
            raise ServerMissing(f"{PACKAGE} could not be fetched: {done.stderr.strip()[-600:]}")
        if hashlib.sha256(packed.read_bytes()).hexdigest() != SHA256:
            raise ServerMissing(f"{PACKAGE} {VERSION} is not the one that was pinned")
        with tarfile.open(packed) as archive:
            archive.extractall(aside, filter="data")
        unpacked = Path(aside) / "package"
        (unpacked / "loopback.js").write_text(_LOOPBACK)
        unpacked.rename(folder)


class KinesisLocal:
    """One server, its streams in memory; usable in `with`.

    Args:
        folder: holds its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._tls_port = free_ports(2)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{HOST}:{self.port}"

    def client(self, **more: Any) -> Any:
        """A client of it that doesn't try again."""
        return boto3.client(
            "kinesis", region_name=REGION, endpoint_url=self.endpoint,
            aws_access_key_id="local", aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=20, **more),
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            ServerMissing: there is no Node, or nothing to run.
            StoreUnavailable: it doesn't answer.
        """
        home = program()
        environment = {
            "PATH": "/usr/bin:/bin",
            "NODE_OPTIONS": f"--require {home / 'loopback.js'}",
            "KINESIS_MOCK_PLAIN_PORT": str(self.port),
            "KINESIS_MOCK_TLS_PORT": str(self._tls_port),
            "AWS_REGION": REGION,
            "SHARD_LIMIT": "10000",
            "LOG_LEVEL": "ERROR",
            **_QUICK,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "kinesis.log").open("ab") as log:
            self._process = STARTER.submit(
                subprocess.Popen, [*dies_with_us(), node(), "main.js"], cwd=home, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            ).result()  # fmt: skip
        client, until_s = self.client(), time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                client.list_streams()
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > until_s or self._process.poll() is not None:
                    raise StoreUnavailable("kinesis-local doesn't start",
                                           where=str(self._folder)) from error  # fmt: skip
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """End it; its streams are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> KinesisLocal:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def create_streams(client: Any, shards: dict[str, int]) -> None:
    """Make streams and wait until they are there."""
    for name, count in shards.items():  # one by one: more than five at a time are refused
        client.create_stream(StreamName=name, ShardCount=count)
        wait_until_active(client, name)


def wait_until_active(client: Any, name: str) -> None:
    """Wait until a stream is not being made or changed."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until_s:
        summary = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return
        time.sleep(0.02)
    raise StoreUnavailable("the stream isn't active", where=name)
