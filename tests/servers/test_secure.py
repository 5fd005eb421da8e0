"""The broker with access control: each kind of login and each refusal, as librdkafka sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

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
from tests.servers.topics import client, create_topics, read_topic, values


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_kafka()
    with secure_cluster(tmp_path_factory.mktemp("secure")) as cluster:
        yield cluster


def login(user: str, password: str = "", mechanism: str = "SCRAM-SHA-256") -> dict[str, Any]:
    return {
        "security_protocol": "sasl_plaintext",
        "sasl_mechanism": mechanism,
        "sasl_username": user,
        "sasl_password": password or USERS[user],
    }


def ca(cluster: Cluster) -> str:
    return str(cluster.folder / "certificates" / "authority.pem")


def errors_of(bootstrap: str, **properties: str | int | bool) -> tuple[list[KafkaError], int]:
    """Return the errors given to `error_cb` until a broker answers, and the number of brokers."""
    seen: list[KafkaError] = []
    admin = AdminClient({**client(bootstrap, **properties), "error_cb": seen.append})
    for _ in range(20):
        try:
            return seen, len(admin.list_topics(timeout=0.5).brokers)
        except KafkaException:
            admin.poll(0)
            if seen:
                return seen, 0
    raise AssertionError("neither an answer nor an error")


def send(bootstrap: str, topic: str, **properties: str | int | bool) -> KafkaError | None:
    delivered: list[KafkaError | None] = []
    producer = Producer(client(bootstrap, message_timeout_ms=5000, **properties))
    producer.produce(topic, b"v", on_delivery=lambda error, _: delivered.append(error))
    producer.flush(30)
    return delivered[0]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_a_login_is_taken_and_a_wrong_password_is_not(secure: Cluster, mechanism: str) -> None:
    right = login("alice", mechanism=mechanism)
    wrong = login("alice", "wrong", mechanism)
    assert errors_of(secure.addresses(SASL), **right) == ([], 1)
    troubles, brokers = errors_of(secure.addresses(SASL), **wrong)
    assert brokers == 0
    assert troubles[0].code() == KafkaError._AUTHENTICATION


def test_nobody_writes_or_reads_without_an_entry(secure: Cluster) -> None:
    create_topics(secure.bootstrap, {"t": 1})
    there, bob = secure.addresses(SASL), login("bob")
    refused = send(there, "t", **bob)
    assert refused is not None
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED

    allow(secure, "bob", "topic", "t", "write")
    assert send(there, "t", **bob) is None
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        read_topic(there, "t", timeout_s=10, **bob)
    allow(secure, "bob", "group", "reader", "read")
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        read_topic(there, "t", timeout_s=10, **bob)
    allow(secure, "bob", "topic", "t", "read")
    assert values(read_topic(there, "t", **bob)) == [b"v"]

    forbid(secure, "bob", "topic", "t", "write")
    refused = send(there, "t", **bob)
    assert refused is not None


def test_a_password_can_change(secure: Cluster) -> None:
    set_password(secure, "carol", "first")
    assert errors_of(secure.addresses(SASL), **login("carol", "first"))[1] == 1
    set_password(secure, "carol", "second")
    assert errors_of(secure.addresses(SASL), **login("carol", "first"))[1] == 0
    assert errors_of(secure.addresses(SASL), **login("carol", "second"))[1] == 1


def test_tls_needs_our_authority_and_the_right_name(secure: Cluster) -> None:
    known = {"security_protocol": "ssl", "ssl_ca_location": ca(secure)}
    assert errors_of(secure.addresses(TLS), **known) == ([], 1)
    assert errors_of(secure.addresses(TLS).replace("127.0.0.1", "localhost"), **known)[1] == 1

    troubles, brokers = errors_of(secure.addresses(TLS), security_protocol="ssl")
    assert brokers == 0
    assert is_bad_certificate(troubles[0])

    troubles, brokers = errors_of(secure.addresses(WRONG_NAME), **known)
    assert brokers == 0
    assert is_bad_certificate(troubles[0])
    unchecked = {"ssl_endpoint_identification_algorithm": "none"}
    assert errors_of(secure.addresses(WRONG_NAME), **known, **unchecked)[1] == 1


def is_bad_certificate(error: KafkaError) -> bool:
    """Whether an error is one of librdkafka's two codes for a refused certificate.

    The code depends on the stage of the handshake.
    """
    known = (KafkaError._SSL, KafkaError._TRANSPORT)
    return error.code() in known and "certificate verify failed" in error.str()


def test_a_certificate_of_the_clients_own_is_its_name(secure: Cluster) -> None:
    create_topics(secure.bootstrap, {"mutual": 1})
    folder = secure.folder / "certificates"
    mutual = {
        "security_protocol": "ssl",
        "ssl_ca_location": ca(secure),
        "ssl_certificate_location": str(folder / "alice.pem"),
        "ssl_key_location": str(folder / "alice.key"),
    }
    assert send(secure.addresses(TLS), "mutual", **mutual) is not None
    allow(secure, "CN=alice", "topic", "mutual", "write")
    assert send(secure.addresses(TLS), "mutual", **mutual) is None


def test_a_login_over_tls(secure: Cluster) -> None:
    both = {**login("alice"), "security_protocol": "sasl_ssl", "ssl_ca_location": ca(secure)}
    assert errors_of(secure.addresses(SASL_TLS), **both) == ([], 1)


def test_an_unsigned_token_is_taken(secure: Cluster) -> None:
    token: dict[str, Any] = {
        "security_protocol": "sasl_plaintext",
        "sasl_mechanism": "OAUTHBEARER",
        "enable_sasl_oauthbearer_unsecure_jwt": True,
        "sasl_oauthbearer_config": "principal=alice",
    }
    assert errors_of(secure.addresses(SASL), **token)[1] == 1


def test_credentials_expire_where_the_broker_asks_again(tmp_path: Path) -> None:
    require_kafka()
    with secure_cluster(tmp_path, properties={"connections.max.reauth.ms": "1500"}) as cluster:
        set_password(cluster, "dora", "first")
        seen: list[KafkaError] = []
        properties = client(cluster.addresses(SASL), **login("dora", "first"))
        admin = AdminClient({**properties, "error_cb": seen.append})
        assert len(admin.list_topics(timeout=10).brokers) == 1
        set_password(cluster, "dora", "second")
        for _ in range(100):
            admin.poll(0.1)
            if any(error.code() == KafkaError._AUTHENTICATION for error in seen):
                return
        pytest.fail(f"still logged in; {seen}")
