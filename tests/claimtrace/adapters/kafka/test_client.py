"""The shared configuration of Kafka clients, and their errors as ours; without any broker."""

from __future__ import annotations

import builtins
import logging
import sys

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from claimtrace.adapters.kafka.client import (
    BrokerErrors,
    ClientConfig,
    client_config,
    connect,
    security_password,
)
from claimtrace.adapters.kafka.errors import Fenced, error_of
from claimtrace.adapters.kafka.msk_token import token_callback
from claimtrace.errors import ClaimtraceError, ConfigError, StateError, StoreUnavailable
from claimtrace.settings.schema import KafkaSettings, SecuritySettings, Settings

CANARY = "c4n4ry-s3cret"
SOURCE = "kafka://127.0.0.1:1"


def settings(source: str = SOURCE, **security: str) -> Settings:
    return Settings(source=source, security=SecuritySettings(**security))  # type: ignore[arg-type]


def with_property(name: str, value: str | int | bool = CANARY) -> Settings:
    return Settings(source=SOURCE, kafka=KafkaSettings(properties={name: value}))


def login(**more: str) -> Settings:
    usual = {"protocol": "sasl_ssl", "username": "worker", "password": CANARY}
    return settings(**{**usual, **more})


# -- configuration --------------------------------------------------------------------------------


def test_plaintext_needs_the_brokers_only():
    config = client_config(settings("kafka://a:9092,b:9093/").kafka_connection)
    assert config["bootstrap.servers"] == "a:9092,b:9093"
    assert config["security.protocol"] == "plaintext"
    assert not [name for name in config if name.startswith(("sasl", "ssl"))]


def test_a_login_and_certificates_become_properties(tmp_path):
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).write_text("x")
    config = client_config(
        login(ca_file=f"{tmp_path}/ca.pem", certificate_file=f"{tmp_path}/own.pem",
              key_file=f"{tmp_path}/own.key", key_password="k3y").kafka_connection
    )  # fmt: skip
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("worker", CANARY)
    assert config["ssl.ca.location"].endswith("ca.pem")
    assert config["ssl.certificate.location"].endswith("own.pem")
    assert config["ssl.key.location"].endswith("own.key")
    assert config["ssl.key.password"] == "k3y"


@pytest.mark.parametrize("protocol", ["ssl", "sasl_ssl"])
def test_the_host_name_is_always_checked(protocol):
    config = client_config(login(protocol=protocol).kafka_connection)
    assert config["ssl.endpoint.identification.algorithm"] == "https"
    assert config["enable.ssl.certificate.verification"] is True


def test_a_password_file_is_read_without_its_line_end(tmp_path):
    (tmp_path / "password").write_text(f"{CANARY}\n")
    from_file = login(password="", password_file=f"{tmp_path}/password")
    assert security_password(from_file.security) == CANARY


@pytest.mark.parametrize(
    ("security", "where"),
    [
        ({"password": ""}, "security.password"),
        ({"username": ""}, "security.username"),
        ({"password_file": "also"}, "security.password_file"),
        ({"password": "", "password_file": "/nowhere/password"}, "/nowhere/password"),
        ({"ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"key_file": "/nowhere/own.key"}, "security.certificate_file"),
        ({"certificate_file": "/nowhere/own.pem"}, "security.key_file"),
        ({"mechanism": "OAUTHBEARER"}, "security.region"),
    ],
)
def test_an_incomplete_login_names_the_setting(security, where):
    with pytest.raises(ConfigError) as caught:
        client_config(login(**security).kafka_connection)
    assert caught.value.where == where
    assert CANARY not in str(caught.value)


def test_an_empty_password_file_is_no_password(tmp_path):
    (tmp_path / "password").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        client_config(login(password="", password_file=f"{tmp_path}/password").kafka_connection)


@pytest.mark.parametrize("source", ["local", "kafka://worker:c4n4ry-s3cret@a:9092"])
def test_a_source_that_is_no_cluster_is_refused_without_showing_it(source):
    with pytest.raises(ConfigError) as caught:
        client_config(settings(source).kafka_connection)
    assert CANARY not in str(caught.value)


def test_properties_are_merged_last():
    config = client_config(with_property("reconnect.backoff.max.ms", 77).kafka_connection)
    assert config["reconnect.backoff.max.ms"] == 77


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        *((each, "leave it out") for each in (
            "enable.auto.commit", "enable.auto.offset.store", "acks", "request.required.acks",
            "enable.idempotence", "auto.offset.reset", "isolation.level", "transactional.id",
            "partition.assignment.strategy", "message.timeout.ms", "retries", "partitioner",
            "ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification",
            "plugin.library.paths", "test.mock.num.brokers", "error_cb", "logger",
        )),
        ("group.id", "kafka.group"),
        ("bootstrap.servers", "source"),
        ("sasl.username", "security.username"),
        ("sasl.password", "CLAIMTRACE_SECURITY__PASSWORD"),
        ("ssl.key.password", "CLAIMTRACE_SECURITY__KEY_PASSWORD"),
        ("ssl.keystore.password", "security"),
        ("ssl.key.pem", "security"),
        ("sasl.oauthbearer.client.secret", "security"),
    ],
)  # fmt: skip
def test_a_property_that_loses_records_or_holds_a_secret_is_refused(name, hint):
    with pytest.raises(ConfigError) as caught:
        client_config(with_property(name).kafka_connection)
    assert name in caught.value.where
    assert hint in caught.value.hint
    assert CANARY not in str(caught.value)


def test_a_configuration_never_shows_itself():
    config = client_config(login().kafka_connection) | {"group.id": "g"}
    assert isinstance(config, ClientConfig)
    for shown in (repr(config), str(config), f"{config}", repr([config])):
        assert CANARY not in shown
    assert "sasl.password" in repr(config)


# -- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Consumer, Producer, AdminClient])
def test_clients_are_made_of_it_and_stay_quiet(kind, capfd):
    broker_errors = BrokerErrors(settings().kafka_connection)
    more = {"group.id": "g"} if kind is Consumer else {}
    client = connect(
        kind, client_config(settings().kafka_connection) | {"error_cb": broker_errors} | more
    )
    for _ in range(40):
        client.poll(0.05)
        if broker_errors.last:
            break
    assert "refused" in broker_errors.last or broker_errors.down
    broker_errors.check()
    broker_errors.answered()
    assert not broker_errors.down
    assert capfd.readouterr() == ("", "")


def test_librdkafkas_lines_go_to_a_logger_that_somebody_may_listen_to():
    assert isinstance(client_config(settings().kafka_connection)["logger"], logging.Logger)


def test_a_wrong_property_is_named_when_a_client_is_made():
    with pytest.raises(ConfigError, match=r"no\.such\.thing"):
        connect(Producer, client_config(with_property("no.such.thing", "x").kafka_connection))
    with pytest.raises(ConfigError) as caught:
        connect(Producer, client_config(login().kafka_connection) | {"linger.ms": "soon"})
    assert CANARY not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None


def test_broker_errors_raise_what_a_person_must_fix_and_keep_the_rest():
    broker_errors = BrokerErrors(login().kafka_connection)
    broker_errors(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
    assert (broker_errors.down, broker_errors.last) == (False, "Connection refused")
    broker_errors(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert broker_errors.down
    broker_errors.check()
    broker_errors(KafkaError(KafkaError._AUTHENTICATION, "Authentication failed"))
    with pytest.raises(ConfigError) as caught:
        broker_errors.check()
    assert "security.username" in caught.value.hint
    assert "CLAIMTRACE_SECURITY__PASSWORD" in caught.value.hint
    assert CANARY not in str(caught.value)


def test_a_connection_that_breaks_in_a_login_is_no_wrong_password():
    broker_errors = BrokerErrors(login().kafka_connection)
    for code, text in (
        (KafkaError._AUTHENTICATION, "SASL handshake failed: Local: Broker transport failure"),
        (KafkaError._SSL, "SSL handshake failed: Disconnected"),
    ):
        broker_errors(KafkaError(code, text))
        broker_errors.check()


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        (KafkaError._AUTHENTICATION, ConfigError, "CLAIMTRACE_SECURITY__PASSWORD"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, ConfigError, "security.username"),
        (KafkaError.MSG_SIZE_TOO_LARGE, ConfigError, "max.message.bytes"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ConfigError, "claimtrace topics create"),
        (KafkaError.INVALID_REPLICATION_FACTOR, ConfigError, "kafka.replication"),
        (KafkaError._INVALID_ARG, ConfigError, "kafka.properties"),
        (KafkaError._TIMED_OUT, StoreUnavailable, "brokers"),
        (KafkaError._TRANSPORT, StoreUnavailable, "brokers"),
        (KafkaError.NOT_ENOUGH_REPLICAS, StoreUnavailable, "min.insync.replicas"),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, StoreUnavailable, "brokers"),
        (KafkaError._FENCED, Fenced, "join again"),
        (KafkaError.INVALID_PRODUCER_EPOCH, Fenced, "join again"),
        (KafkaError.ILLEGAL_GENERATION, Fenced, "join again"),
        (KafkaError.UNKNOWN_MEMBER_ID, Fenced, "join again"),
        (KafkaError._FATAL, StateError, "start the worker again"),
    ],
)
def test_an_error_is_a_persons_to_fix_or_is_retried(code, kind, hint):
    ours = error_of(KafkaError(code, "so it is"), "can't write", "claims.dead")
    assert type(ours) is kind
    assert hint in ours.hint
    assert (ours.what, ours.where) == ("can't write: so it is", "claims.dead")
    assert ours.retryable == (kind is StoreUnavailable)


def test_a_fatal_error_that_nobody_knows_ends_the_client():
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "lost", True)
    assert type(error_of(fatal, "can't write", "t")) is StateError


@pytest.mark.parametrize(
    ("code", "operation", "hint"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Write", "--operation Write --topic here"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "", "--operation Read --group here"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "", "Write --transactional-id here"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "", "--operation IdempotentWrite --cluster"),
    ],
)
def test_a_missing_acl_is_spelled_out(code, operation, hint):
    denied = KafkaError(code, "denied")
    ours: ClaimtraceError = error_of(denied, "no", "here", user="w-1", operation=operation)
    assert isinstance(ours, ConfigError)
    assert "User:w-1" in ours.hint
    assert hint in ours.hint


# -- Amazon MSK -----------------------------------------------------------------------------------


def test_msk_tokens_are_signed_offline(monkeypatch):
    pytest.importorskip("aws_msk_iam_sasl_signer", reason="needs the extra msk")
    import base64
    import time
    from urllib.parse import parse_qs, urlparse

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    config = client_config(login(mechanism="OAUTHBEARER", region="eu-central-1").kafka_connection)
    assert "sasl.password" not in config
    token, expires_s = config["oauth_cb"]("")
    url = urlparse(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    asked = parse_qs(url.query)
    assert url.netloc == "kafka.eu-central-1.amazonaws.com"
    assert asked["Action"] == ["kafka-cluster:Connect"]
    assert asked["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert "/eu-central-1/kafka-cluster/" in asked["X-Amz-Credential"][0]
    assert CANARY not in url.query
    assert 0 < expires_s - time.time() <= 900


def test_without_the_signer_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name.startswith("aws_msk"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.delitem(sys.modules, "aws_msk_iam_sasl_signer", raising=False)
    with pytest.raises(ConfigError) as caught:
        token_callback("eu-central-1")
    assert "claimtrace[msk]" in caught.value.hint


def test_a_token_that_cannot_be_had_names_region_and_identity():
    broker_errors = BrokerErrors(
        login(mechanism="OAUTHBEARER", region="eu-central-1").kafka_connection
    )
    text = "Failed to acquire SASL OAUTHBEARER token: OAuth callback raised exception"
    broker_errors(KafkaError(KafkaError._AUTHENTICATION, text))
    with pytest.raises(ConfigError) as caught:
        broker_errors.check()
    assert "security.region" in caught.value.hint
