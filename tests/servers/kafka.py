"""A real Apache Kafka 4.2 (KRaft) for tests and for people without Docker.

    with Cluster(folder) as kafka:                # one node
        kafka.bootstrap                           # "127.0.0.1:20417"
        kafka.kill(); kafka.start()               # a crash; no acknowledged record is lost

    with Cluster(folder, nodes=3) as kafka:       # three copies, two must be in sync
        kafka.leader_of("claims.filed", 0).kill()

`python -m tests.servers.kafka --port 9092 --folder claimtrace-data/kafka` is `make kafka`.
"""

from __future__ import annotations

import argparse
import base64
import signal
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from confluent_kafka.admin import AdminClient

from claimtrace.closing import Closing
from claimtrace.errors import ClaimtraceError, StoreUnavailable
from tests.servers.broker import CONTROLLER, HOST, READY_TIMEOUT_S, Broker, free_ports

PLAIN_LISTENER: Final = {"PLAINTEXT": "PLAINTEXT"}
START_ATTEMPTS: Final = 3

QUICK: Final = {
    # Small and quick: delays that production needs for late group members only slow a test down.
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(8 * 2**20),
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
    "log.cleaner.backoff.ms": "500",
    # Simulated records are of any time: keep old ones, accept future ones, and don't start a new
    # segment for each day or week that passes between two of them.
    "log.retention.ms": "-1",
    "log.roll.ms": str(2**63 - 1),
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
"""Properties of every node; those of the caller override them."""


class Cluster(Closing):
    """One or several nodes; `with` starts and kills them.

    Args:
        folder: the cluster's own folder, with a folder for each node.
        nodes: number of nodes; from three on topics have three replicas, of which two must be in
            sync.
        properties: override the defaults of `server.properties`.
        listeners: name -> protocol; the first is for the brokers themselves and for `bootstrap`.
        format_arguments: further arguments of `kafka-storage format`.
        port: the port of the first listener of the first node; 0 takes a free one.
        heap: the Java heap of each node.

    Leaving `with` kills the nodes: no data needs to survive, and that is quicker than a shutdown.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        *,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] = PLAIN_LISTENER,
        format_arguments: Sequence[str] = (),
        port: int = 0,
        heap: str = "384m",
    ) -> None:
        self.folder = folder
        self._nodes = nodes
        self._own = dict(properties or {})
        self._listeners = dict(listeners)
        self._format_arguments = list(format_arguments)
        self._port = port
        self._heap = heap
        self._cluster_id = _known_cluster_id(folder) or _new_cluster_id()
        self.brokers = self._make_brokers()

    @property
    def bootstrap(self) -> str:
        """The addresses for `bootstrap.servers`: the first listener of every node."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def addresses(self, listener: str) -> str:
        """Return the addresses for `bootstrap.servers` of another listener."""
        return ",".join(broker.address(listener) for broker in self.brokers)

    def admin(self) -> AdminClient:
        """Return an admin client on the first listener."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def start(self) -> None:
        """Start the nodes that don't run and wait until each of them answers.

        Raises:
            ServerMissing: Java or Kafka isn't installed.
            StoreUnavailable: a node doesn't start.
        """
        fresh = not any((broker.folder / "log").exists() for broker in self.brokers)
        for attempt in range(START_ATTEMPTS):
            try:
                return self._start()
            except StoreUnavailable as error:
                taken = "Address already in use" in str(error)
                if not (fresh and taken and not self._port) or attempt == START_ATTEMPTS - 1:
                    raise
                self.kill()
                self.brokers = self._make_brokers()
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End all nodes in an orderly way."""
        for broker in self.brokers:
            broker.send(signal.SIGTERM)
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """Kill all nodes, as a power cut does."""
        for broker in self.brokers:
            broker.kill()

    def pause(self) -> None:
        """Suspend all nodes (SIGSTOP)."""
        for broker in self.brokers:
            broker.pause()

    def resume(self) -> None:
        """Continue after `pause`."""
        for broker in self.brokers:
            broker.resume()

    def leader_of(self, topic: str, partition: int = 0) -> Broker:
        """Return the node that leads a partition now; waits up to 30 s for one.

        Raises:
            StoreUnavailable: no node leads the partition.
        """
        deadline = time.monotonic() + 30
        admin = self.admin()
        while time.monotonic() < deadline:
            partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
            leader = partitions[partition].leader if partition in partitions else -1
            for broker in self.brokers:
                if broker.node_id == leader:
                    return broker
            time.sleep(0.1)
        raise StoreUnavailable("no node leads the partition", where=f"{topic}-{partition}")

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def close(self) -> None:
        """Kill all nodes."""
        self.kill()

    def _start(self) -> None:
        waking = [broker for broker in self.brokers if not broker.alive]
        for broker in waking:
            broker.start(wait=False)
        for broker in waking:
            broker.wait_until_ready(READY_TIMEOUT_S)

    def _make_brokers(self) -> list[Broker]:
        names = [*self._listeners, CONTROLLER]
        free = free_ports(self._nodes * len(names))
        if self._port:
            free[0] = self._port
        ports = [dict(zip(names, free[n * len(names) :], strict=False)) for n in range(self._nodes)]
        voters = ",".join(f"{n}@{HOST}:{own[CONTROLLER]}" for n, own in enumerate(ports, 1))
        return [
            Broker(
                node_id,
                self.folder / f"node-{node_id}",
                own,
                self._properties(node_id, own, voters),
                cluster_id=self._cluster_id,
                format_arguments=self._format_arguments,
                heap=self._heap,
            )
            for node_id, own in enumerate(ports, 1)
        ]

    def _properties(self, node_id: int, ports: Mapping[str, int], voters: str) -> dict[str, str]:
        copies, in_sync = (3, 2) if self._nodes >= 3 else (1, 1)
        protocols = {**self._listeners, CONTROLLER: "PLAINTEXT"}
        addresses = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
        return {
            "process.roles": "broker,controller",
            "node.id": str(node_id),
            "controller.quorum.voters": voters,
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(addresses[name] for name in self._listeners),
            "inter.broker.listener.name": next(iter(self._listeners)),
            "controller.listener.names": CONTROLLER,
            "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
            "default.replication.factor": str(copies),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(in_sync),
            "share.coordinator.state.topic.replication.factor": str(copies),
            "share.coordinator.state.topic.min.isr": str(in_sync),
            **QUICK,
            **self._own,
        }


def _new_cluster_id() -> str:
    """Return 22 characters of base64 like `kafka-storage random-uuid`, without a leading dash."""
    return "c" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _known_cluster_id(folder: Path) -> str:
    for written in folder.glob("node-*/log/meta.properties"):
        for line in written.read_text().splitlines():
            if line.startswith("cluster.id="):
                return line.removeprefix("cluster.id=").strip()
    return ""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one node in the foreground until Ctrl-C; its log is in the folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.kafka", description=main.__doc__)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--folder", type=Path, default=Path("claimtrace-data/kafka"))
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    kafka = Cluster(given.folder.resolve(), port=given.port, heap="512m")
    print("starting Kafka (fetched at the first time) ...", flush=True)
    try:
        kafka.start()
        print(f"""Kafka answers at {kafka.bootstrap}; its records and its log lie in {given.folder}.
Ctrl-C ends it. In another terminal:

  export CLAIMTRACE_SOURCE=kafka://{kafka.bootstrap}
  claimtrace topics create     # once
  claimtrace stream            # a worker; start as many as you like
""", flush=True)  # fmt: skip
        while kafka.brokers[0].alive:
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("\nending Kafka ...", flush=True)
        kafka.stop()
        return 0
    except ClaimtraceError as error:
        kafka.kill()
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"Kafka ended by itself:\n{kafka.brokers[0].tail()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
