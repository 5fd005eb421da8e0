"""Fixtures that tests of several rooms share: real servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

from tests.servers.dynamodb import DynamoLocal
from tests.servers.fetch import ServerMissing, dynamodb_jars, java, kafka_jars, ministack_packages
from tests.servers.kafka import Cluster
from tests.servers.kinesis import KinesisLocal, node, program
from tests.servers.ministack import Ministack
from tests.servers.mock_cluster import MockCluster

settings.register_profile("any machine", deadline=None)  # a time limit fails on a busy one
settings.load_profile("any machine")

SERVER_FIXTURES = {"kafka", "kafka_clusters", "kinesis", "dynamodb", "ministack", "mock_kafka"}


_COMPILING = ("featurestore", "stream/engine", "stream/decisions", "monitoring")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that may start a server, which `make test-quick` leaves out; order the files.

    First come those that compile the kernels, or workers on servers would wait for the compiler;
    then those with servers, which take minutes: at the end other processes would wait for them.
    """
    with_servers = set()
    for item in items:
        named = SERVER_FIXTURES & set(getattr(item, "fixturenames", ()))
        globals_ = vars(getattr(item, "module", None) or object).values()
        started = any(str(getattr(each, "__module__", "")).startswith("tests.servers")
                      for each in globals_)  # fmt: skip
        said = item.get_closest_marker("server")
        if named or started or said or "servers" in item.path.parts:
            item.add_marker(pytest.mark.server)
            with_servers.add(item.path)

    def rank(item: pytest.Item) -> int:
        if item.path in with_servers:
            return 1
        return 0 if any(f"/tests/{room}/" in str(item.path) for room in _COMPILING) else 2

    items.sort(key=rank)


def require_kafka() -> None:
    """Skip the test, saying why, where there is no Kafka; fail where CI wants its servers."""
    _require(java, kafka_jars)


def _require(*parts: Callable[[], object]) -> None:
    try:
        for part in parts:
            part()
    except ServerMissing as missing:
        _without(missing)


def _without(missing: ServerMissing) -> NoReturn:
    if os.environ.get("CI") or os.environ.get("SERVERS") == "required":
        pytest.fail(str(missing), pytrace=False)
    pytest.skip(str(missing))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One real node for all tests: keep to topics and groups of your own, and don't break it."""
    require_kafka()
    with Cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def kafka_clusters(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Starts clusters for one test, which may break them: `kafka_clusters(nodes=3)`."""
    require_kafka()
    started: list[Cluster] = []

    def start(nodes: int = 1, **arguments: Any) -> Cluster:
        cluster = Cluster(tmp_path / f"kafka-{len(started)}", nodes, **arguments)
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in started:
        cluster.kill()


@pytest.fixture(scope="session")
def kinesis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KinesisLocal]:
    """A local Kinesis for all tests: keep to streams of your own."""
    _require(node, program)
    with KinesisLocal(tmp_path_factory.mktemp("kinesis")) as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynamoLocal]:
    """A local DynamoDB for all tests: keep to tables of your own."""
    _require(java, dynamodb_jars)
    with DynamoLocal(tmp_path_factory.mktemp("dynamodb")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """The rest of AWS for all tests: keep to names of your own."""
    _require(ministack_packages)
    with Ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture
def mock_kafka() -> Iterator[MockCluster]:
    """Three mock brokers for one test, to break at will."""
    try:
        mock = MockCluster(brokers=3)
    except ServerMissing as missing:
        _without(missing)
    with mock:
        yield mock
