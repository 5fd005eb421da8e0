"""One Kafka node as a child process: format, start, stop, kill, pause, and restart.

A node never outlives its parent: the kernel ends the node when the process that started it ends,
by `kill -9` too.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from claimtrace.errors import StoreUnavailable
from tests.servers.fetch import java, kafka_jars

HOST: Final = "127.0.0.1"
CONTROLLER: Final = "CONTROLLER"
READY_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 20.0
LOGGING: Final = Path(__file__).with_name("log4j2.xml")

# The kernel's death signal follows the *thread* that started the child, not its process; this
# thread lives as long as the interpreter, so that a test may start a node from a thread that ends.
STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-starter")


def free_ports(count: int) -> list[int]:
    """Return unused ports below those that the kernel gives to outgoing connections.

    A restarted node must get its port back; an ephemeral port could be taken meanwhile by any
    client's connection, even the one that tries to reach this node.
    """
    found: list[int] = []
    for port in random.sample(range(15_000, 32_000), 2_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise StoreUnavailable("no free port", where=HOST)


class Broker:
    """One node, broker and controller at once, in a folder of its own.

    Args:
        node_id: from 1 on.
        folder: holds the node's log, `server.properties` and `broker.log`.
        ports: of each listener, by name; `CONTROLLER` among them.
        properties: content of `server.properties`.
        cluster_id: argument of `kafka-storage format`.
        format_arguments: further arguments of `kafka-storage format`, such as `--add-scram`.
        heap: the maximum of the Java heap, such as `384m`.
    """

    def __init__(
        self,
        node_id: int,
        folder: Path,
        ports: Mapping[str, int],
        properties: Mapping[str, str],
        *,
        cluster_id: str,
        format_arguments: Sequence[str] = (),
        heap: str = "384m",
    ) -> None:
        self.node_id = node_id
        self.folder = folder
        self.ports = dict(ports)
        self.log = folder / "broker.log"
        self._properties = {**properties, "log.dirs": str(folder / "log")}
        self._cluster_id = cluster_id
        self._format_arguments = list(format_arguments)
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address of the first listener for clients."""
        return self.address(next(name for name in self.ports if name != CONTROLLER))

    def address(self, listener: str) -> str:
        """Return host and port of a listener."""
        return f"{HOST}:{self.ports[listener]}"

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the node; 0 when it doesn't run."""
        return self._process.pid if self._process is not None and self.alive else 0

    def start(self, *, wait: bool = True) -> None:
        """Start the node, after formatting its folder the first time, and wait until it answers.

        Raises:
            ServerMissing: Java or Kafka isn't installed.
            StoreUnavailable: the node ended, or doesn't answer in time; the error shows the end of
                its log.
        """
        assert not self.alive, f"node {self.node_id} already runs"
        self.folder.mkdir(parents=True, exist_ok=True)
        written = self.folder / "server.properties"
        written.write_text("".join(f"{k}={v}\n" for k, v in self._properties.items()))
        if not (self.folder / "log" / "meta.properties").exists():
            self._format(written)
        node = [*_java(), f"-Xmx{self._heap}", "kafka.Kafka", str(written)]
        with self.log.open("ab") as log:
            self._process = STARTER.submit(
                subprocess.Popen, [*dies_with_us(), *node],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C must reach the parent alone
            ).result()  # fmt: skip
        atexit.register(self.kill)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until this node lists itself among the brokers; an open port isn't enough.

        Raises:
            StoreUnavailable: as for `start`.
        """
        deadline = time.monotonic() + timeout_s
        quiet = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **quiet})
        while time.monotonic() < deadline:
            if not self.alive:
                raise self._trouble("ended at its start")
            try:
                known = admin.list_topics(timeout=0.5)
                # Another node may answer at this address while this one is still starting.
                if known.cluster_id == self._cluster_id and self.node_id in known.brokers:
                    return
            except KafkaException:
                continue
            time.sleep(0.05)
        raise self._trouble(f"does not answer after {timeout_s:.0f} s")

    def stop(self) -> None:
        """End the node in an orderly way (SIGTERM); kill it when that takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node as a crash does (SIGKILL); harmless when it doesn't run."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the node (SIGSTOP): its connections stay open and no request is answered."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause` (SIGCONT)."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the node and return at once; a no-op when the node doesn't run."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def tail(self, lines: int = 25) -> str:
        """Return the end of the node's log: warnings and errors if any, without stack frames."""
        if not self.log.exists():
            return ""
        every = self.log.read_text(errors="replace").splitlines()
        messages = [line for line in every if line.strip() and line[0] != "\t"]
        worse = [line for line in messages if " INFO " not in line]
        return "\n".join((worse or messages)[-lines:])

    def resident_mb(self) -> float:
        """Return the node's resident memory, in MB of 2**20 bytes (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes.split()[1]) / 1024

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.send(number)
        if number != signal.SIGKILL:
            self.resume()  # a paused process handles no SIGTERM
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        atexit.unregister(self.kill)

    def _format(self, written: Path) -> None:
        command = [*_java(), "-Xmx128m", "kafka.tools.StorageTool", "format",
                   "-t", self._cluster_id, "-c", str(written), *self._format_arguments]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise StoreUnavailable(f"no format: {(done.stdout + done.stderr)[-1000:]}",
                                   where=str(written))  # fmt: skip

    def _trouble(self, what: str) -> StoreUnavailable:
        text = f"Kafka node {self.node_id} {what}; its log ends:\n{self.tail()}\n"
        return StoreUnavailable(text, where=str(self.log))


def _java() -> list[str]:
    return [java(), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={LOGGING}", "-cp", str(kafka_jars() / "*")]  # fmt: skip


def dies_with_us() -> list[str]:
    """Return the prefix of a command that makes the kernel kill it when its parent ends (Linux).

    The shell checks whether the parent ended before the signal was requested; `exec` keeps the
    process id.
    """
    setpriv = shutil.which("setpriv")  # of util-linux; elsewhere only `atexit` is left
    if setpriv is None:
        return []
    check = '[ "$PPID" = "$0" ] && exec "$@"'
    return [setpriv, "--pdeathsig", "KILL", "sh", "-c", check, str(os.getpid())]
