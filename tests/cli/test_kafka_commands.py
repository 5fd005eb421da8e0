"""`claimtrace topics` and `claimtrace producers` on a real broker and on the embedded log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ConfigSource
from confluent_kafka.admin import AlterConfigOpType as Op
from typer.testing import CliRunner, Result

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.adapters.kafka.group_members import members_of
from claimtrace.adapters.kafka.topics_admin import KafkaTopics, topic_ids
from claimtrace.adapters.required_topics import wanted_topics
from claimtrace.errors import ConfigError
from claimtrace.settings.schema import KafkaSettings, Settings
from cli.commands.events import topics
from cli.commands.events.producers import producers
from cli.commands.events.replay import replay
from cli.commands.events.topics import check_topics
from cli.commands.rights import audit, keys
from cli.commands.start.doctor_sharing import check_sharing
from cli.wiring.workspace import Workspace
from tests.conftest import require_kafka
from tests.servers.kafka import Cluster
from tests.servers.topics import client, create_topics, read_topic

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ("policies.changed", "claims.adjudicated", "claims.filed")
SMALL = ["--days", "5", "--claims-per-day", "40", "--policies", "200"]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker of this file's own: these topics have fixed names."""
    require_kafka()
    with Cluster(tmp_path_factory.mktemp("apart")) as cluster:
        yield cluster


@pytest.fixture
def own(apart: Cluster) -> Cluster:
    """That broker, without any topic."""
    admin = apart.admin()
    if there := [name for name in admin.list_topics(timeout=10).topics if name[0] != "_"]:
        for done in admin.delete_topics(there, operation_timeout=10).values():
            done.result(10)
    return apart


def session_of(cluster: Cluster, folder: Path, **kafka: object) -> Workspace:
    return session_at(cluster.bootstrap, folder, **kafka)


def session_at(brokers: str, folder: Path, **kafka: object) -> Workspace:
    settings = Settings(
        folder=str(folder / "data"),
        source=f"kafka://{brokers}",
        kafka=KafkaSettings(**kafka),  # type: ignore[arg-type]
    )
    return Workspace(settings)


def ask(app: typer.Typer, session: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), obj=session)


def answer(app: typer.Typer, session: Workspace, *arguments: str) -> dict[str, object]:
    ran = ask(app, session, *arguments, "--json")
    assert ran.exit_code == 0, ran.output
    found: dict[str, object] = json.loads(ran.stdout)
    return found


@pytest.fixture
def feeding() -> typer.Typer:
    app = typer.Typer()
    app.command()(producers)
    return app


def alter(cluster: Cluster, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, source=ConfigSource.DYNAMIC_TOPIC_CONFIG,
                        incremental_operation=Op.SET)  # fmt: skip
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin: AdminClient = cluster.admin()
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)


def test_topics_are_made_once_checked_and_grown(own, tmp_path):
    session = session_of(own, tmp_path)
    with pytest.raises(ConfigError, match="it isn't there"):
        check_topics(session)

    dry = answer(topics.app, session, "create", "--dry-run")
    assert len(dry["made"]) == 9
    assert KafkaTopics(session.settings.kafka_connection).found(INPUTS) == {}

    create_topics(own.bootstrap, {"claims.dead": 2})  # somebody was here before
    first = answer(topics.app, session, "create")
    assert sorted([*first["made"], "claims.dead"]) == sorted(dry["made"])
    assert first["grown"] == {"claims.dead": 4}
    ids = topic_ids(session.settings.kafka_connection, INPUTS)
    again = answer(topics.app, session, "create")
    assert (again["made"], again["grown"]) == ([], {})
    assert topic_ids(session.settings.kafka_connection, INPUTS) == ids
    assert check_topics(session).startswith("9 topics, inputs of 4 partitions")

    wider = answer(topics.app, session, "create", "--partitions", "6")
    assert set(wider["grown"]) == {*INPUTS, "claims.decisions", "claims.dead", "claims.audit"}
    found = KafkaTopics(session.settings.kafka_connection).found(["claims.filed", "claims.journal"])
    assert [topic.partitions for topic in found.values()] == [6, 1]
    assert found["claims.filed"].config["message.timestamp.type"] == "LogAppendTime"
    assert "6 partitions already" in str(
        ask(topics.app, session, "create", "--partitions", "5").exception
    )

    alter(own, "claims.filed", "cleanup.policy", "compact")
    with pytest.raises(ConfigError, match="compacted") as said:
        check_topics(session)
    assert "--add-config cleanup.policy=delete" in said.value.hint
    listed = ask(topics.app, session, "list")
    assert "compacted" in listed.stdout
    assert "claims.journal" in listed.stdout


def test_keys_are_recorded_on_the_topic_of_the_audit(own, tmp_path):
    """Each process has a chain of its own; without the topic no key is made."""
    session = session_of(own, tmp_path)
    add = "add", "--name", "portal", "--role", "reader"
    missing = ask(keys.app, session, *add).exception
    assert isinstance(missing, ConfigError)
    assert "claims.audit" in str(missing)
    answer(topics.app, session, "create")
    made = [answer(keys.app, session, *add)["key"] for _ in range(3)]
    proof = answer(audit.app, session, "verify")
    assert (proof["events"], proof["writers"], proof["wrong"]) == (3, 3, 0)
    assert len(json.loads(ask(keys.app, session, "list", "--json").stdout)) == 3
    records = list(read_topic(own.bootstrap, "claims.audit"))
    assert not any(str(key).rpartition("_")[2] in repr(records) for key in made)
    told = answer(audit.app, session, "verify", "--against", proof["seal"])
    assert told["wrong"] == 0


def test_a_topic_that_was_made_again_has_another_id(own, tmp_path):
    session = session_of(own, tmp_path)
    cluster = KafkaTopics(session.settings.kafka_connection)
    wanted = wanted_topics(["claims.filed"], session.settings.kafka, session.settings.partitions)
    cluster.create(wanted)
    cluster.create(wanted)  # another worker made them at the same time
    before = topic_ids(session.settings.kafka_connection, ["claims.filed"])
    admin = own.admin()
    for done in admin.delete_topics(["claims.filed"], operation_timeout=10).values():
        done.result(10)

    def ask_until_gone() -> None:
        """The controller has deleted it; the broker that is asked learns of that a little later."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            topic_ids(session.settings.kafka_connection, ["claims.filed"])
            time.sleep(0.05)

    with pytest.raises(ConfigError) as said:
        ask_until_gone()
    assert said.value.where == "claims.filed"
    cluster.create(wanted)
    assert topic_ids(session.settings.kafka_connection, ["claims.filed"]) != before


def test_more_copies_than_brokers_are_refused_with_the_setting(own, tmp_path):
    session = session_of(own, tmp_path, replication=3, min_insync=2)
    error = ask(topics.app, session, "create").exception
    assert isinstance(error, ConfigError)
    assert "kafka.replication" in error.hint


def test_brokers_that_are_away_are_no_fault_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.setattr("claimtrace.adapters.kafka.topics_admin._ANSWER_S", 1.0)
    error = ask(topics.app, session_at("127.0.0.1:1", tmp_path), "list").exception
    assert "are the brokers up" in error.hint
    assert error.retryable


def test_what_is_fed_is_acknowledged_and_there(own, tmp_path, feeding):
    session = session_of(own, tmp_path)
    answer(topics.app, session, "create")
    fed = answer(feeding, session, "--rate", "0", *SMALL)
    assert fed["sent"] == fed["acknowledged"] > 300
    assert fed["failed"] == 0
    found = [record for topic in INPUTS for record in read_topic(own.bootstrap, topic)]
    assert len(found) == fed["acknowledged"]
    headers = [dict(record.headers) for record in found]
    assert {h["schema"] for h in headers} == {b"claims.filed/1", b"policies.changed/1"}
    assert len({h["traceparent"] for h in headers}) == len(found)
    assert all(record.key.startswith(b"pol-") for record in found)
    by_key: dict[bytes, set[int]] = {}
    for record in found:
        by_key.setdefault(record.key, set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in by_key.values())

    live = answer(feeding, session, "--rate", "500", "--for", "1s", "--live", *SMALL)
    assert live["acknowledged"] == live["sent"] > 200
    newest = read_topic(own.bootstrap, "claims.filed")[-1]
    assert abs(newest.log_time_ms - time.time() * 1000) < 120_000


def test_a_missing_topic_is_said_after_what_was_acknowledged(own, tmp_path, feeding):
    create_topics(own.bootstrap, {"policies.changed": 4})
    quick = session_of(own, tmp_path, properties={"topic.metadata.propagation.max.ms": 500})
    ran = ask(feeding, quick, "--rate", "0", "--json", *SMALL)
    assert isinstance(ran.exception, ConfigError)
    assert "claimtrace topics create" in ran.exception.hint
    fed = json.loads(ran.stdout)
    assert fed["acknowledged"] + fed["failed"] <= fed["sent"]
    assert fed["failed"] > 0
    assert "can't write" in fed["error"]
    there = len(read_topic(own.bootstrap, "policies.changed"))
    assert there >= fed["acknowledged"]


def test_ctrl_c_reports_what_was_acknowledged_and_no_more(own, tmp_path):
    session = session_of(own, tmp_path)
    answer(topics.app, session, "create")
    environment = {**os.environ, "CLAIMTRACE_SOURCE": session.settings.source,
                   "CLAIMTRACE_FOLDER": str(tmp_path), "PYTHONPATH": str(ROOT)}  # fmt: skip
    feeder = subprocess.Popen(
        [sys.executable, "-m", "claimtrace", "producers", "--rate", "300", "--json"],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not read_topic(own.bootstrap, "claims.filed") and time.monotonic() < deadline:
            time.sleep(0.2)
        feeder.send_signal(signal.SIGINT)
        told, _ = feeder.communicate(timeout=30)
    finally:
        feeder.kill()
    fed = json.loads(told)
    assert feeder.returncode == 130
    assert fed["interrupted"]
    there = sum(len(read_topic(own.bootstrap, topic)) for topic in INPUTS)
    assert there == fed["acknowledged"] == fed["sent"] > 0


def test_the_embedded_log_is_fed_in_the_same_way(tmp_path, feeding):
    session = Workspace(Settings(folder=str(tmp_path / "data")))
    assert "embedded" in check_topics(session)
    fed = answer(feeding, session, "--rate", "0", *SMALL)
    assert fed["sent"] == fed["acknowledged"]
    with EmbeddedLog(tmp_path / "data" / "log.db") as log:
        assert sum(sum(log.ends(topic)) for topic in INPUTS) == fed["sent"]
        first = log.read("claims.filed", 0, 0, 1)[0]
        assert dict(first.headers)["schema"] == b"claims.filed/1"
    assert ask(topics.app, session, "list").exception.hint.startswith("set CLAIMTRACE_SOURCE")


def test_rows_of_a_file_are_fed(tmp_path, feeding):
    rows = ["claim_id,policy_id,filed_at"]
    rows += [f"c-{n},p-{n % 3},2025-01-01T00:00:0{n}Z" for n in range(5)]
    (tmp_path / "claims.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "mapping.toml").write_text(
        """topic = "claims.filed"
key = "policy_id"
time = { field = "filed_at", column = "filed_at", unit = "iso" }
[fields]
claim_id = "claim_id"
policy_id = "policy_id"
"""
    )
    session = Workspace(Settings(folder=str(tmp_path / "data")))
    files = ["--file", str(tmp_path / "claims.csv")]
    fed = answer(
        feeding, session, *files, "--mapping", str(tmp_path / "mapping.toml"), "--rate", "0"
    )
    assert fed["acknowledged"] == 5
    assert "5 rows read" in ask(
        feeding, session, *files, "--mapping", str(tmp_path / "mapping.toml"), "--rate", "0"
    ).stdout.replace("\n", " ")
    assert "mapping" in str(ask(feeding, session, *files).exception)
    assert "not a duration" in str(ask(feeding, session, "--for", "soon").exception)


def test_a_table_is_replayed_where_the_source_says(own, tmp_path):
    """Its events go by key, as those of other clients, and a bad row to the dead letters."""
    rows = ["claim_id,policy_id,filed_at,amount"]
    rows += [f"c-{n},p-{n % 7},2025-01-01T00:00:{n:02d}Z,{n}.50" for n in range(40)]
    rows[9] = "c-8,p-1,2205-01-01,1.00"
    (tmp_path / "claims.csv").write_text("\n".join(rows) + "\n")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        """topic = "claims.filed"
key = "policy_id"
time = { field = "filed_at", column = "filed_at" }
on_bad_row = "dead"
[fields]
claim_id = "claim_id"
policy_id = "policy_id"
total_claim_cents = { column = "amount", kind = "cents" }
"""
    )
    replaying = typer.Typer()
    replaying.command()(replay)
    session = session_of(own, tmp_path, properties={"topic.metadata.propagation.max.ms": 500})
    asked = [str(tmp_path / "claims.csv"), "--mapping", str(mapping)]
    missing = ask(replaying, session, *asked).exception
    assert isinstance(missing, ConfigError)
    assert "claimtrace topics create" in missing.hint
    answer(topics.app, session, "create")
    told = answer(replaying, session, *asked)
    assert told["log"] == session.settings.source
    assert told["events"] == {"claims.filed": 39}
    assert told["rows_refused"] == {"time_out_of_range": 1}
    assert not (tmp_path / "data").exists(), "nothing is written beside the cluster"
    found = read_topic(own.bootstrap, "claims.filed")
    assert len(found) == 39
    by_key: dict[bytes, set[int]] = {}
    for record in found:
        by_key.setdefault(record.key, set()).add(record.partition)
    assert len(by_key) == 7
    assert all(len(partitions) == 1 for partitions in by_key.values())
    (letter,) = read_topic(own.bootstrap, "claims.dead")
    assert dict(letter.headers)["x-dead-row"] == b"9"


def test_the_doctor_says_that_workers_share_nothing(own, tmp_path, monkeypatch):
    session = session_of(own, tmp_path)
    settings = msgspec.structs.replace(session.settings, models="shared/m", offline="shared/o")
    assert "for one worker only" in check_sharing(session)
    assert "shared/o" in check_sharing(Workspace(settings))
    config = client(own.bootstrap)
    members = [Consumer({**config, "group.id": settings.kafka.group}) for _ in range(2)]
    create_topics(own.bootstrap, {"claims.filed": 2})
    try:
        for member in members:
            member.subscribe(["claims.filed"])
        until_s = time.monotonic() + 60
        while len(members_of(settings.kafka_connection)) < 2 and time.monotonic() < until_s:
            for member in members:
                member.poll(0.2)
        with pytest.raises(ConfigError, match="2 workers are in the group") as told:
            check_sharing(session)
        assert "models and offline" in told.value.what
        assert "2 in the group" in check_sharing(Workspace(settings))
    finally:
        for member in members:
            member.close()
