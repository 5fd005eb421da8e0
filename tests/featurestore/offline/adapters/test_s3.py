"""The offline store in a bucket: the rows of a local one, once, whoever crashes or races."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from claimtrace.errors import ConfigError, StateError, StoreUnavailable
from claimtrace.settings.schema import Settings
from cli.stream_run import run_stream
from cli.wiring.workspace import Workspace
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.adapters.delta_errors import ours
from featurestore.offline.tables import EVENTS, rows_of
from tests.servers.aws_local import REGION
from tests.servers.broker import HOST
from tests.servers.ministack import Ministack
from tests.servers.s3_gate import S3Gate, handler
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import Crash, World

_numbers = itertools.count()
LOG = re.compile(r"/_delta_log/\d{20}\.json$")


def labels(*places: int) -> pa.Table:
    plain = {
        "outcome": "fraud", "is_fraud": True, "decided_at_ms": 5, "known_time_ms": 6,
        "log_time_ms": 6, "topic": "claims.adjudicated", "partition": 0,
    }  # fmt: skip
    return rows_of("labels", [
        {"claim_id": f"c-{n}", "event_id": f"a-{n}", "position": n, **plain} for n in places
    ])  # fmt: skip


def places_in(store: OfflineStore) -> list[int]:
    return sorted(store.dataset("labels").to_table()["position"].to_pylist())


@pytest.fixture
def bucket(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket; it is reached by the variables alone, as in production."""
    for name in ("PROFILE", "SESSION_TOKEN", "ENDPOINT_URL_S3", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in (
        ("ACCESS_KEY_ID", "local"), ("SECRET_ACCESS_KEY", "local"), ("REGION", REGION),
        ("ENDPOINT_URL_S3", ministack.endpoint), ("ALLOW_HTTP", "true"),
    ):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    name = f"claims-{next(_numbers)}"
    place = {"LocationConstraint": REGION}
    ministack.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=place)
    return f"s3://{name}/offline"


@pytest.fixture
def gate(
    ministack: Ministack, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Gate]:
    with S3Gate(tmp_path, ministack.port) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gate.endpoint)
        yield gate


@dataclass
class Bucketed(World):
    """A stream whose offline store is in a bucket."""

    url: str = ""

    def offline(self) -> Any:
        return OfflineStore(self.url)


@pytest.fixture(scope="module")
def records() -> Any:
    return as_records(a_stream(8, 150))


@pytest.fixture(scope="module")
def local(records: Any, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("local"), offline_every=60)
    world.put(records)
    world.run()
    return world


def test_a_bucket_holds_the_rows_of_a_folder(
    bucket: str, records: Any, local: World, tmp_path: Path
) -> None:
    world = Bucketed(tmp_path, offline_every=60, url=bucket)
    world.put(records)
    world.run()
    found = world.offline_rows()
    assert len(found[EVENTS]) == len(records)
    assert found == local.offline_rows()
    assert not (tmp_path / "offline").exists()


@pytest.mark.parametrize("point", ["emitted", "offline", "flushed"])
def test_a_crash_leaves_each_row_once(
    point: str, bucket: str, records: Any, local: World, tmp_path: Path
) -> None:
    world = Bucketed(tmp_path, offline_every=60, url=bucket)
    world.put(records)
    passed: list[str] = []

    def crash(here: str) -> None:
        passed.append(here)
        if here == point and passed.count(point) == (1 if point == "flushed" else 4):
            raise Crash

    with pytest.raises(Crash):
        world.run(crash)
    world.run()
    assert world.offline_rows() == local.offline_rows()


def test_the_setting_names_a_bucket(bucket: str, records: Any, tmp_path: Path) -> None:
    World(tmp_path).put(records)
    session = Workspace(Settings(folder=str(tmp_path), partitions=2, offline=bucket))
    run_stream(session, until_end=True, quiet=True)
    tables = OfflineStore(bucket).tables()
    assert {"decisions", "definitions", EVENTS} <= set(tables)
    found = session.offline.sql(f"SELECT count(*) AS n FROM {EVENTS}")
    assert found["n"].to_pylist() == [len(records)]


def append(store: OfflineStore, writer: str, version: int, place: int) -> bool:
    """As the driver does: again, until the store has it."""
    while True:
        try:
            return store.append("labels", labels(place), writer=writer, version=version)
        except StoreUnavailable:
            continue


def test_writers_that_race_keep_all_rows(bucket: str) -> None:
    together = threading.Barrier(3)

    def write(writer: int) -> None:
        store = OfflineStore(bucket)
        together.wait()
        for version in range(6):
            assert append(store, f"w{writer}", version, 10 * writer + version)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    store = OfflineStore(bucket)
    assert places_in(store) == [10 * writer + v for writer in range(3) for v in range(6)]
    assert store.tables()["labels"] >= 18, "who makes the table second may commit that too"
    assert [store.committed("labels", f"w{n}") for n in range(3)] == [5, 5, 5]


def test_two_owners_of_one_writer_append_once(bucket: str) -> None:
    together = threading.Barrier(2)

    def write(_: int) -> list[bool]:
        store = OfflineStore(bucket)
        together.wait()
        return [append(store, "w", version, version) for version in range(6)]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(write, range(2))
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert places_in(OfflineStore(bucket)) == list(range(6))


def test_a_version_of_the_log_is_put_only_where_there_is_none(bucket: str, gate: S3Gate) -> None:
    store = OfflineStore(bucket)
    for version in range(3):
        store.append("labels", labels(version), writer="w", version=version)
    puts = [each for each in gate.asked() if each.method == "PUT"]
    assert [each.if_none_match for each in puts if LOG.search(each.path)] == ["*"] * 4


def test_while_rows_are_uploaded_other_threads_run(
    bucket: str, ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate is a thread of this process: it can answer only if the upload lets it."""
    (tmp_path / "rule.json").write_text("{}")
    with ThreadingHTTPServer((HOST, 0), handler(tmp_path, ministack.port)) as server:
        server.daemon_threads, server.block_on_close = True, False
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{HOST}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        store = OfflineStore(bucket)
        assert store.append("labels", labels(1, 2), writer="w", version=0)
        assert places_in(store) == [1, 2]
        server.shutdown()
        thread.join()


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    store = OfflineStore("s3://no-such-bucket/offline")
    for attempt in (
        lambda: store.append("labels", labels(1), writer="w", version=0),
        store.tables,
        lambda: store.committed("labels", "w"),
    ):
        with pytest.raises(ConfigError, match="no such bucket") as caught:
            attempt()
        assert "make the bucket" in caught.value.hint
        assert caught.value.where.startswith("s3://no-such-bucket/offline/")


@pytest.mark.parametrize(
    ("path", "code", "hint"),
    [("", "AccessDenied", "s3:PutObject"), ("parquet$", "AccessDenied", "s3:PutObject"),
     ("json$", "AccessDenied", "s3:PutObject"), ("parquet$", "InvalidAccessKeyId", "credentials")],
)  # fmt: skip
def test_missing_rights_are_named_and_nothing_is_written(
    path: str, code: str, hint: str, bucket: str, gate: S3Gate
) -> None:
    store = OfflineStore(bucket)
    store.append("labels", labels(1), writer="w", version=0)
    if path:
        gate.refuse(403, code, methods="PUT POST", path=path)
    else:
        gate.refuse(403, code)
    for each in (store, OfflineStore(bucket)):
        with pytest.raises(ConfigError) as caught:
            each.append("labels", labels(2), writer="w", version=1)
        assert hint in caught.value.hint
    gate.open()
    assert places_in(store) == [1]
    assert store.append("labels", labels(2), writer="w", version=1)
    assert places_in(OfflineStore(bucket)) == [1, 2]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("", 503, "SlowDown"), ("parquet$", 400, "ExpiredToken"), ("json$", 503, "SlowDown")],
)
def test_while_s3_is_away_an_append_can_be_tried_again(
    path: str, status: int, code: str, bucket: str, gate: S3Gate
) -> None:
    # without options boto3 uploads rows; the rest is delta-rs', whose many tries only cost time
    store = OfflineStore(bucket, None if path == "parquet$" else {"max_retries": "0"})
    store.append("labels", labels(1), writer="w", version=0)
    if path:
        gate.refuse(status, code, methods="PUT POST", path=path)
    else:
        gate.refuse(status, code)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.append("labels", labels(2), writer="w", version=1)
    gate.open()
    assert store.append("labels", labels(2), writer="w", version=1)
    assert places_in(store) == [1, 2]


def test_a_lost_answer_to_a_commit_leaves_the_rows_once(bucket: str, gate: S3Gate) -> None:
    """The commit is there, but the writer was told that S3 is busy."""
    store = OfflineStore(bucket, {"max_retries": "0"})
    store.append("labels", labels(1), writer="w", version=0)
    gate.refuse(503, "SlowDown", methods="PUT", path="/_delta_log/", done=True)
    with pytest.raises(StoreUnavailable):
        store.append("labels", labels(2), writer="w", version=1)
    gate.open()
    assert not store.append("labels", labels(2), writer="w", version=1)
    assert places_in(store) == [1, 2]


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [("AWS_ALLOW_HTTP", "false", "AWS_ALLOW_HTTP"), ("AWS_REGION", None, "AWS_REGION")],
)
def test_variables_that_are_missing_are_named(
    bucket: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, hint: str
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        OfflineStore(bucket).append("labels", labels(1), writer="w", version=0)
    assert hint in caught.value.hint


def test_a_damaged_table_is_no_outage(bucket: str, ministack: Ministack) -> None:
    store = OfflineStore(bucket)
    store.append("labels", labels(1), writer="w", version=0)
    name = bucket.split("/")[2]
    key = "offline/labels/_delta_log/00000000000000000001.json"
    ministack.client("s3").put_object(Bucket=name, Key=key, Body=b"{no json")
    with pytest.raises(StateError, match="labels"):
        OfflineStore(bucket).append("labels", labels(2), writer="w", version=1)


def test_what_is_said_is_one_line_without_colours() -> None:
    text = (
        "Kernel error -> Generic S3 error\n \x1b[31m↳\x1b[0m in 1 ms\n  \x1b[31m↳\x1b[0m refused\n"
    )
    assert ours(OSError(text), "t").what == (
        "the offline store doesn't answer: Kernel error -> Generic S3 error, refused"
    )
