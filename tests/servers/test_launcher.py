"""The prerequisites of a broker: Java, the download, ports; and the broker of `make kafka`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claimtrace.errors import StoreUnavailable
from tests.conftest import require_kafka
from tests.servers import fetch
from tests.servers.broker import free_ports
from tests.servers.kafka import Cluster
from tests.servers.records import outgoing, send
from tests.servers.topics import create_topics, read_topic

ROOT = Path(__file__).resolve().parents[2]

FAKE_MAVEN = """#!/bin/sh
echo fetched >> "$HOME/log"
for word in "$@"; do case "$word" in -DoutputDirectory=*)
  [ -e "$HOME/broken" ] && { echo "no such artefact"; exit 1; }
  sleep 0.3; mkdir -p "${word#*=}"; : > "${word#*=}/kafka.jar";;
esac; done
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a fake Maven and an empty cache."""
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(FAKE_MAVEN)
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def test_two_processes_fetch_once(home: Path) -> None:
    program = "from tests.servers.fetch import kafka_jars; print(kafka_jars())"
    command = [sys.executable, "-c", program]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = {process.communicate()[0].strip() for process in both}
    assert printed == {str(fetch.kafka_jars())}
    assert (fetch.kafka_jars() / "kafka.jar").exists()
    assert (home / "log").read_text() == "fetched\n"
    assert sorted(path.name for path in fetch.cache_folder().iterdir()) == [
        "fetch.lock",
        fetch.kafka_jars().name,
    ]


def test_what_is_missing_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "broken").touch()
    with pytest.raises(fetch.ServerMissing, match="no such artefact"):
        fetch.kafka_jars()
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(fetch.ServerMissing, match="no mvn"):
        fetch.kafka_jars()
    with pytest.raises(fetch.ServerMissing, match="no java"):
        fetch.java()


def test_a_test_without_kafka_skips_but_fails_in_ci(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no java"):
        require_kafka()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no java"):
        require_kafka()


def test_ports_are_below_those_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32768


def test_the_broker_of_make_kafka_ends_with_ctrl_c_and_keeps_its_records(tmp_path: Path) -> None:
    require_kafka()
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.servers.kafka", "--port", str(port),
               "--folder", str(tmp_path / "kafka")]  # fmt: skip
    for turn in range(2):
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        printed = next((line for line in running.stdout if line.startswith("Kafka answers")), "")
        bootstrap = f"127.0.0.1:{port}"
        assert bootstrap in printed
        if turn == 0:
            create_topics(bootstrap, {"claims.filed": 4})
            filed = [record for record in outgoing(1, 20) if record.topic == "claims.filed"]
            sent = send(bootstrap, filed)
        assert sorted(sent) == read_topic(bootstrap, "claims.filed")
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
        assert running.returncode == 0


def test_a_port_that_is_taken_is_named(kafka: Cluster, tmp_path: Path) -> None:
    port = kafka.brokers[0].ports["PLAINTEXT"]
    with pytest.raises(StoreUnavailable, match="Address already in use"):
        Cluster(tmp_path, port=port).start()


def test_a_broker_that_ends_at_its_start_says_why(tmp_path: Path) -> None:
    require_kafka()
    cluster = Cluster(tmp_path, properties={"num.io.threads": "-1"})
    with pytest.raises(StoreUnavailable, match=r"num\.io\.threads"):
        cluster.start()
    assert not cluster.brokers[0].alive
    assert os.listdir(cluster.brokers[0].folder)
