# ruff: noqa: SLF001 - librdkafka's own error codes begin with an underscore
"""Kafka's errors as ours: a person must act, the caller retries, or the client is replaced.

librdkafka retries by itself whatever it can; an error that is passed on to us was given up or
refused, or is for information. There are three reactions:

- `ConfigError`: a person must fix it. The hint names the setting, the ACL or the command.
- `StoreUnavailable`: it passes without anyone acting. Pause and retry.
- `StateError`, or its subclass `Fenced`: this client can't be used any more; another one took over.
"""

from __future__ import annotations

import re
from typing import Final

from confluent_kafka import KafkaError

from ...errors import ClaimtraceError, ConfigError, StateError, StoreUnavailable


class Fenced(StateError):
    """An error because another worker has taken over: the broker refuses our sends and commits.

    Nothing is wrong with the state: drop the client, rejoin the group, read the journal.
    """


_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
_LOGIN: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
_TOO_LARGE: Final = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}
)
_NO_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
_NOT_ENOUGH_COPIES: Final = frozenset(
    {
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError._ISR_INSUFF,
    }
)
_OURS: Final = {
    KafkaError._INVALID_ARG: "see kafka.properties",
    KafkaError.INVALID_CONFIG: "see kafka.properties and the broker's limits",
    KafkaError.INVALID_PARTITIONS: "see the setting partitions",
    KafkaError.INVALID_REPLICATION_FACTOR: "lower kafka.replication to the number of brokers",
    KafkaError.INVALID_SESSION_TIMEOUT: "set kafka.session_timeout within the broker's limits",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower transaction.timeout.ms in kafka.properties",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "all workers of a group need one kafka.group_protocol",
    KafkaError.UNSUPPORTED_ASSIGNOR: "set kafka.group_protocol = classic",
    KafkaError.UNSUPPORTED_VERSION: "this broker is too old for the setting in use; for groups set "
    "kafka.group_protocol = classic",
    KafkaError._UNSUPPORTED_FEATURE: "this broker is too old for the setting in use; for groups "
    "set kafka.group_protocol = classic",
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: "set kafka.compression = lz4",
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: "the topic is of an old format: make it again",
    KafkaError.INVALID_TIMESTAMP: "set message.timestamp.type=LogAppendTime on the topic",
    KafkaError.TOPIC_EXCEPTION: "a topic's name has letters, digits and ._- only",
    KafkaError.POLICY_VIOLATION: "a policy of the cluster forbids it: ask who runs the cluster",
    KafkaError.SECURITY_DISABLED: "the brokers have no authorizer: ACLs can't be made",
}
_ACL: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("--topic", "Describe"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: ("--group", "Read"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ("--transactional-id", "Write"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("--cluster", "IdempotentWrite"),
}
_NETWORK: Final = re.compile(r"transport failure|disconnect|timed out|timeout|reset by peer", re.I)
_CERTIFICATE: Final = re.compile(
    r"certificate (verify failed|required|unknown|expired)|bad certificate|hostname mismatch"
    r"|unknown ca|handshake failure|wrong version number|no shared cipher",
    re.I,
)

LOGIN_HINT: Final = (
    "see security.mechanism, security.username and CLAIMTRACE_SECURITY__PASSWORD (or "
    "security.password_file)"
)
TLS_HINT: Final = (
    "see security.ca_file; the host names in source must be those in the brokers' certificates"
)


def error_of(
    error: KafkaError, what: str, where: str, *, user: str = "", operation: str = ""
) -> ClaimtraceError:
    """Return our error for a broker's error; the caller raises it.

    Args:
        error: librdkafka's error.
        what: the operation that failed, such as `can't write`.
        where: the topic, group or transactional id concerned; also the resource in the ACL of the
            hint.
        user: our name at the brokers (`security.username`), for the ACL of the hint.
        operation: the ACL's operation (`Read`, `Write`, `Create` ...); empty: the usual one.

    >>> from confluent_kafka import KafkaError
    >>> denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied")
    >>> print(error_of(denied, "can't write", "claims.dead", user="w-1", operation="Write"))
    can't write: denied [claims.dead] (kafka-acls --add --allow-principal User:w-1
    --operation Write --topic claims.dead)
    """
    code, what = error.code(), f"{what}: {error.str()}"
    if (hint := hint_for(error, where, user, operation)) is not None:
        return ConfigError(what, where=where, hint=hint)
    if code in _FENCED:
        return Fenced(what, where=where, hint="another worker has taken over; join again")
    if error.fatal() or code == KafkaError._FATAL:
        return StateError(what, where=where, hint="start the worker again")
    if code in _NOT_ENOUGH_COPIES:
        hint = "brokers of this partition are down: fewer copies in sync than min.insync.replicas"
        return StoreUnavailable(what, where=where, hint=hint)
    return StoreUnavailable(what, where=where, hint="are the brokers up, and reachable from here?")


def hint_for(error: KafkaError, where: str, user: str = "", operation: str = "") -> str | None:
    """Return how a person can fix an error, or None when a person can't or needn't."""
    code = error.code()
    if code in _ACL:
        return _grant(code, where, user, operation)
    if code in _LOGIN:
        # a broker that goes down during a login is reported with the same code
        return None if _NETWORK.search(error.str()) else LOGIN_HINT
    if code in (KafkaError._SSL, KafkaError._TRANSPORT):  # depends on the handshake's stage
        return TLS_HINT if _CERTIFICATE.search(error.str()) else None
    if code in _TOO_LARGE:
        return "raise max.message.bytes of the topic: kafka-configs --alter --entity-type topics"
    if code in _NO_TOPIC:
        return "make the topics with `claimtrace topics create`"
    return _OURS.get(code)


def _grant(code: int, where: str, user: str, operation: str) -> str:
    """Return the command that grants the missing right."""
    resource, usual = _ACL[code]
    named = "" if resource == "--cluster" else f" {where}"
    who = user or "<user>"
    return (
        f"kafka-acls --add --allow-principal User:{who} "
        f"--operation {operation or usual} {resource}{named}"
    )
