"""A Kafka with logins, access control, and TLS with a right and a wrong host name.

    with secure_cluster(folder) as kafka:
        kafka.bootstrap                 # PLAINTEXT: all rights; for the test itself
        kafka.addresses(SASL)           # a login without encryption: SCRAM, PLAIN, OAUTHBEARER
        kafka.addresses(SASL_TLS)       # a login over TLS
        kafka.addresses(TLS)            # TLS alone; a client's certificate is optional
        kafka.addresses(WRONG_NAME)     # TLS with a certificate for another host

`allow` grants rights; without it only `ADMIN` has any.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from claimtrace.errors import StoreUnavailable
from tests.servers.certificates import Authority
from tests.servers.kafka import Cluster

SASL: Final = "SASL"
SASL_TLS: Final = "SASL_TLS"
TLS: Final = "TLS"
WRONG_NAME: Final = "WRONG_NAME"
LISTENERS: Final = {
    "PLAINTEXT": "PLAINTEXT",
    SASL: "SASL_PLAINTEXT",
    SASL_TLS: "SASL_SSL",
    TLS: "SSL",
    WRONG_NAME: "SSL",
}

ADMIN: Final = "admin"
USERS: Final = {ADMIN: "admin-secret", "alice": "alice-secret", "bob": "bob-secret"}
"""Users of PLAIN and SCRAM -> their passwords."""

OUR_NAMES: Final = "DNS:localhost,IP:127.0.0.1"
_MODULES: Final = {
    "scram-sha-256": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "scram-sha-512": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "plain": "org.apache.kafka.common.security.plain.PlainLoginModule required "
    + " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    + ";",
    # Accepts any unsigned token that hasn't expired: for tests only, like all of this file.
    "oauthbearer": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";',
}


def secure_cluster(folder: Path, *, properties: Mapping[str, str] | None = None) -> Cluster:
    """Return one node with the listeners above; its certificates are in `folder / "certificates"`.

    In that folder, `authority.pem` is for a client's `ssl.ca.location`; `alice.pem` and `alice.key`
    are a client's own certificate, whose principal is `User:CN=alice`.

    Raises:
        ServerMissing: `openssl` isn't installed.
    """
    authority = Authority(folder / "certificates")
    authority.sign("alice")
    scram = [
        f"{mechanism}=[name={name},password={password}]"
        for name, password in USERS.items()
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
    ]
    return Cluster(
        folder,
        listeners=LISTENERS,
        properties={**_properties(authority), **(properties or {})},
        format_arguments=[word for one in scram for word in ("--add-scram", one)],
    )


def allow(cluster: Cluster, user: str, kind: str, name: str, *operations: str) -> None:
    """Grant a user rights: `allow(kafka, "alice", "topic", "claims.filed", "read")`.

    Returns when the broker enforces the change.

    Args:
        cluster: from `secure_cluster`.
        user: the principal without `User:`; `CN=alice` for a certificate.
        kind: `topic`, `group`, `transactional_id` or `broker` (the cluster itself).
        name: name of the resource, `claims.*` for a prefix; `kafka-cluster` for `broker`.
        operations: `read`, `write`, `describe`, `create`, `all`, ...

    Raises:
        KafkaException: the cluster refused.
    """
    admin = cluster.admin()
    for operation in operations:
        entry = AclBinding(*_entry(user, kind, name, operation))
        for done in admin.create_acls([entry]).values():
            done.result(30)
        _wait_for_entries(admin, AclBindingFilter(*_entry(user, kind, name, operation)), 1)


def forbid(cluster: Cluster, user: str, kind: str, name: str, *operations: str) -> None:
    """Revoke rights that `allow` granted; the same arguments, and the same errors."""
    admin = cluster.admin()
    for operation in operations:
        entry = AclBindingFilter(*_entry(user, kind, name, operation))
        for done in admin.delete_acls([entry]).values():
            done.result(30)
        _wait_for_entries(admin, entry, 0)


def set_password(cluster: Cluster, user: str, password: str) -> None:
    """Change a user's SCRAM password, or create a user; open sessions continue.

    With `properties={"connections.max.reauth.ms": "2000"}` sessions must log in again soon.

    Raises:
        KafkaException: the cluster refused.
    """
    changes = [
        UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
    ]
    admin = cluster.admin()
    for change in changes:  # one a request: a request with two for the same user is refused
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result(30)


def _entry(user: str, kind: str, name: str, operation: str) -> tuple[Any, ...]:
    prefixed = name.endswith("*")
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    return (ResourceType[kind.upper()], name.removesuffix("*"), pattern, f"User:{user}", "*",
            AclOperation[operation.upper()], AclPermissionType.ALLOW)  # fmt: skip


def _wait_for_entries(admin: AdminClient, entry: AclBindingFilter, count: int) -> None:
    """Wait until the broker's authorizer knows a change: the controller answers before that."""
    deadline = time.monotonic() + 10
    while len(admin.describe_acls(entry).result(30)) != count:
        if time.monotonic() > deadline:
            raise StoreUnavailable("the access control entry did not settle", where=str(entry))
        time.sleep(0.02)


def _properties(authority: Authority) -> dict[str, str]:
    ours = authority.key_store("broker", OUR_NAMES)
    strange = authority.key_store("elsewhere", "DNS:elsewhere.example")
    wanted: dict[str, str] = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The plain listeners of the controller and of the test have no login.
        "super.users": f"User:{ADMIN};User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
        "ssl.client.auth": "requested",
    }
    for listener in (SASL_TLS, TLS, WRONG_NAME):
        store = strange if listener == WRONG_NAME else ours
        wanted[f"listener.name.{listener.lower()}.ssl.keystore.location"] = str(store)
    for listener in (SASL, SASL_TLS):
        for mechanism, module in _MODULES.items():
            own = f"listener.name.{listener.lower()}.{mechanism}.sasl.jaas.config"
            wanted[own] = module
    return wanted
