"""Logins, ACLs and TLS on a real broker with access control: each refusal names its fix."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.adapters.kafka.topics_admin import KafkaTopics
from claimtrace.errors import ClaimtraceError, ConfigError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KafkaSettings, SecuritySettings, Settings
from cli.commands.events import topics as topics_command
from cli.wiring.workspace import Workspace
from producers.adapters.kafka import KafkaSink
from tests.conftest import require_kafka
from tests.servers.kafka import Cluster
from tests.servers.secure import (
    SASL,
    SASL_TLS,
    TLS,
    USERS,
    WRONG_NAME,
    allow,
    forbid,
    secure_cluster,
    set_password,
)
from tests.servers.topics import create_topics, read_topic

SOON_S = 20
"""A time-out against waiting for ever, generous on a busy machine; not a measure of speed."""
CANARY = "c4n4ry-s3cret"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_kafka()
    with secure_cluster(tmp_path_factory.mktemp("secure")) as cluster:
        yield cluster


@pytest.fixture
def topic(secure: Cluster) -> str:
    name = f"t.{uuid.uuid4().hex[:8]}"
    create_topics(secure.bootstrap, {name: 1})
    return name


def settings(cluster: Cluster, listener: str, user: str = "", **security: str) -> Settings:
    usual: dict[str, Any] = {"protocol": "ssl"}
    if listener in (SASL, SASL_TLS):
        protocol = "sasl_plaintext" if listener == SASL else "sasl_ssl"
        usual = {"protocol": protocol, "username": user, "password": USERS.get(user, CANARY)}
    if listener != SASL:
        usual["ca_file"] = str(cluster.folder / "certificates" / "authority.pem")
    quick: dict[str, str | int | bool] = {"topic.metadata.propagation.max.ms": 2000}
    return Settings(source=f"kafka://{cluster.addresses(listener)}",
                    security=SecuritySettings(**{**usual, **security}),
                    kafka=KafkaSettings(properties=quick))  # fmt: skip


def send(wanted: Settings, topic: str, **arguments: str) -> None:
    sink = KafkaSink(wanted.kafka_connection, **arguments)  # type: ignore[arg-type]
    try:
        if arguments:
            sink.begin(SOON_S)
        sink.send([Outgoing(topic, 0, b"k", b"v", 1)])
        if arguments:
            sink.commit([], object(), SOON_S)
        else:
            sink.flush(SOON_S)
    finally:
        sink.close()


def receive(wanted: Settings, topic: str, group: str) -> bytes:
    """Return the value of the first record, read as a member of a group."""
    broker_errors = BrokerErrors(wanted.kafka_connection)
    own = {"group.id": group, "auto.offset.reset": "earliest", "error_cb": broker_errors}
    member = connect(
        Consumer, client_config(wanted.kafka_connection) | own | {"enable.auto.commit": False}
    )
    try:
        member.subscribe([topic])
        deadline = time.monotonic() + SOON_S
        while time.monotonic() < deadline:
            got = member.poll(0.2)
            broker_errors.check()
            if got is None:
                continue
            if got.error() is not None:
                where = group if "GROUP" in got.error().name() else topic
                user = wanted.security.username
                raise error_of(got.error(), "can't read", where, user=user, operation="Read")
            value = got.value()
            assert isinstance(value, bytes)
            return value
    finally:
        member.close()
    raise StoreUnavailable("nothing came")


def refused(run: Callable[[], object]) -> ClaimtraceError:
    began_s = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        run()
    assert time.monotonic() - began_s < SOON_S
    shown = str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert CANARY not in shown
    assert not any(password in shown for password in USERS.values())
    return caught.value


# -- logins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
@pytest.mark.parametrize("listener", [SASL, SASL_TLS])
def test_the_right_password_works(secure, topic, mechanism, listener):
    send(settings(secure, listener, "admin", mechanism=mechanism), topic)
    assert len(read_topic(secure.bootstrap, topic)) == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_names_the_setting_in_every_client(
    secure, topic, mechanism, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    wrong = settings(secure, SASL, "alice", mechanism=mechanism, password=CANARY)
    runs: tuple[Callable[[], object], ...] = (
        lambda: send(wrong, topic),
        lambda: send(wrong, topic, transactional_id="tx"),
        lambda: receive(wrong, topic, "g"),
        lambda: KafkaTopics(wrong.kafka_connection).found([topic]),
    )
    for run in runs:
        error = refused(run)
        assert "security.username" in error.hint
        assert "CLAIMTRACE_SECURITY__PASSWORD" in error.hint
    assert CANARY not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_password_that_expired_is_reported_and_nothing_is_lost_once_it_is_fixed(secure, topic):
    allow(secure, "carl", "topic", topic, "write")
    set_password(secure, "carl", "first")
    old = settings(secure, SASL, "carl", password="first")
    send(old, topic)
    set_password(secure, "carl", "second")
    assert "CLAIMTRACE_SECURITY__PASSWORD" in refused(lambda: send(old, topic)).hint
    send(settings(secure, SASL, "carl", password="second"), topic)
    assert len(read_topic(secure.bootstrap, topic)) == 2


def test_a_password_file_logs_in(secure, topic, tmp_path):
    (tmp_path / "password").write_text(USERS["admin"] + "\n")
    file = str(tmp_path / "password")
    send(settings(secure, SASL, "admin", password="", password_file=file), topic)


def test_an_aws_identity_that_is_missing_is_reported(secure, topic, monkeypatch, tmp_path):
    pytest.importorskip("aws_msk_iam_sasl_signer", reason="needs the extra msk")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    own = settings(secure, SASL, mechanism="OAUTHBEARER", region="eu-central-1", password="")
    assert "AWS identity" in refused(lambda: send(own, topic)).hint


# -- ACLs -----------------------------------------------------------------------------------------


def test_a_missing_acl_on_the_output_is_spelled_out(secure, topic):
    bob = settings(secure, SASL, "bob")
    error = refused(lambda: send(bob, topic))
    assert error.where == topic
    assert error.hint == (
        f"kafka-acls --add --allow-principal User:bob --operation Write --topic {topic}"
    )
    allow(secure, "bob", "topic", topic, "write")
    send(bob, topic)
    forbid(secure, "bob", "topic", topic, "write")
    refused(lambda: send(bob, topic))
    assert len(read_topic(secure.bootstrap, topic)) == 1


def test_a_missing_acl_on_input_and_group_is_spelled_out(secure, topic):
    send(settings(secure, SASL, "admin"), topic)
    bob, group = settings(secure, SASL, "bob"), f"g-{topic}"
    allow(secure, "bob", "topic", topic, "read")
    error = refused(lambda: receive(bob, topic, group))
    assert f"--operation Read --group {group}" in error.hint
    forbid(secure, "bob", "topic", topic, "read")
    allow(secure, "bob", "group", group, "read")
    error = refused(lambda: receive(bob, topic, group))
    assert f"User:bob --operation Read --topic {topic}" in error.hint
    allow(secure, "bob", "topic", topic, "read")
    assert receive(bob, topic, group) == b"v"


def test_a_missing_acl_on_transactions_is_spelled_out(secure, topic):
    bob, name = settings(secure, SASL, "bob"), f"tx-{topic}"
    allow(secure, "bob", "topic", topic, "write")
    error = refused(lambda: send(bob, topic, transactional_id=name))
    assert f"--operation Write --transactional-id {name}" in error.hint


def test_a_refused_record_in_a_transaction_takes_it_back_and_names_the_acl(secure, topic):
    bob, name = settings(secure, SASL, "bob"), f"tx-{topic}"
    allow(secure, "bob", "transactional_id", name, "write", "describe")
    error = refused(lambda: send(bob, topic, transactional_id=name))
    assert f"--operation Write --topic {topic}" in error.hint
    assert read_topic(secure.bootstrap, topic) == []


def test_offsets_of_a_group_that_is_not_ours_abort_the_transaction(secure, topic):
    bob, name = settings(secure, SASL, "bob"), f"tx-{topic}"
    allow(secure, "bob", "transactional_id", name, "write", "describe")
    allow(secure, "bob", "topic", topic, "write", "read")
    member = connect(Consumer, client_config(bob.kafka_connection) | {"group.id": "theirs"})
    sink = KafkaSink(bob.kafka_connection, transactional_id=name)
    try:
        sink.begin()
        sink.send([Outgoing(topic, 0, b"k", b"v", 1)])
        offsets = [TopicPartition(topic, 0, 1)]
        error = refused(lambda: sink.commit(offsets, member.consumer_group_metadata(), SOON_S))
    finally:
        sink.close()
        member.close()
    assert "--group" in error.hint
    assert read_topic(secure.bootstrap, topic) == []


def test_topics_that_may_not_be_made_name_the_acl(secure, tmp_path):
    bob = settings(secure, SASL, "bob")
    session = Workspace(Settings(folder=str(tmp_path), source=bob.source, security=bob.security))
    error = CliRunner().invoke(topics_command.app, ["create"], obj=session).exception
    assert isinstance(error, ConfigError)
    assert "User:bob" in error.hint
    assert "--topic" in error.hint


# -- TLS ------------------------------------------------------------------------------------------


def test_the_right_host_name_is_accepted(secure, topic):
    allow(secure, "ANONYMOUS", "topic", topic, "write")
    send(settings(secure, TLS), topic)
    assert len(read_topic(secure.bootstrap, topic)) == 1


def test_a_wrong_host_name_is_refused_by_every_client(secure, topic):
    wrong = settings(secure, WRONG_NAME)
    for run in (
        lambda: send(wrong, topic),
        lambda: receive(wrong, topic, "g"),
        lambda: KafkaTopics(wrong.kafka_connection).found([topic]),
    ):
        error = refused(run)
        assert "host names in source" in error.hint
    assert read_topic(secure.bootstrap, topic) == []


def test_an_unknown_authority_is_refused(secure, topic):
    error = refused(lambda: send(settings(secure, TLS, ca_file=""), topic))
    assert "security.ca_file" in error.hint


def test_a_certificate_of_our_own_is_our_name(secure, topic):
    folder: Path = secure.folder / "certificates"
    mutual = settings(secure, TLS, certificate_file=str(folder / "alice.pem"),
                      key_file=str(folder / "alice.key"))  # fmt: skip
    assert topic in refused(lambda: send(mutual, topic)).hint
    allow(secure, "CN=alice", "topic", topic, "write")
    send(mutual, topic)


def test_a_broken_certificate_file_is_reported_when_the_client_is_made(secure, topic, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    broken = settings(secure, TLS, ca_file=str(tmp_path / "ca.pem"))
    assert "ssl.ca.location" in refused(lambda: send(broken, topic)).what
