# ruff: noqa: SLF001 - librdkafka's own error codes begin with an underscore
"""The configuration and error callback that all clients of a Kafka cluster share.

The settings become properties of librdkafka here and nowhere else. Secrets are in the finished
configuration only, whose `repr` doesn't show them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from ...errors import ConfigError
from ...limits import MAX_DEAD_LETTER_BYTES
from ...settings.schema import KAFKA, KafkaConnection, SecuritySettings
from .errors import error_of, hint_for
from .msk_token import IDENTITY_HINT, token_callback

T = TypeVar("T")

LOGGER: Final = logging.getLogger("claimtrace.kafka")
"""Receives librdkafka's own log lines; silent unless a handler is added."""
LOGGER.addHandler(logging.NullHandler())  # else Python's last-resort handler prints them

_OWN: Final = {
    "bootstrap.servers": "source",
    "metadata.broker.list": "source",
    "group.id": "kafka.group",
    "group.protocol": "kafka.group_protocol",
    "group.instance.id": "kafka.instance",
    "session.timeout.ms": "kafka.session_timeout",
    "compression.codec": "kafka.compression",
    "compression.type": "kafka.compression",
    "security.protocol": "security.protocol",
    "sasl.mechanism": "security.mechanism",
    "sasl.mechanisms": "security.mechanism",
    "sasl.username": "security.username",
    "sasl.password": "CLAIMTRACE_SECURITY__PASSWORD",
    "ssl.ca.location": "security.ca_file",
    "ssl.certificate.location": "security.certificate_file",
    "ssl.key.location": "security.key_file",
    "ssl.key.password": "CLAIMTRACE_SECURITY__KEY_PASSWORD",
}
_LOSING: Final = """
    enable.auto.commit auto.commit.enable auto.commit.interval.ms enable.auto.offset.store
    offset.store.method auto.offset.reset isolation.level partition.assignment.strategy
    group.remote.assignor enable.partition.eof acks request.required.acks enable.idempotence
    enable.gapless.guarantee max.in.flight max.in.flight.requests.per.connection retries
    message.send.max.retries message.timeout.ms delivery.timeout.ms transactional.id partitioner
    queuing.strategy dr_msg_cb dr_cb
"""
_REFUSED: Final = {
    **dict.fromkeys(_LOSING.split(), "records would be lost or doubled; claimtrace sets it"),
    "enable.ssl.certificate.verification": "anybody could pose as the brokers",
    "ssl.endpoint.identification.algorithm": "anybody could pose as the brokers",
    "plugin.library.paths": "it loads foreign code",
}
_SECRET: Final = (
    "password",
    "secret",
    "token",
    "private",
    ".pem",
    "oauthbearer.config",
    "sasl.jaas",
)


class ClientConfig(dict[str, Any]):
    """Properties of librdkafka whose values aren't shown by `repr`; `config | {...}` adds to them.

    >>> ClientConfig({"sasl.password": "p"}) | {"group.id": "g"}
    ClientConfig(group.id, sasl.password)
    """

    def __repr__(self) -> str:
        return f"ClientConfig({', '.join(sorted(self))})"

    __str__ = __repr__

    def __or__(self, other: Mapping[str, Any]) -> ClientConfig:  # type: ignore[override]
        return ClientConfig({**self, **other})


def client_config(connection: KafkaConnection) -> ClientConfig:
    """Return the properties that every consumer, producer and admin client is made with.

    Add the properties of one kind of client with `|`; these win over `kafka.properties`.

    Raises:
        ConfigError: `source` names no Kafka cluster, a login is incomplete, a file is missing, or a
            property in `kafka.properties` would lose records, hold a secret, or has a setting of
            its own.
    """
    name = connection.kafka.instance
    return ClientConfig(
        {
            "bootstrap.servers": brokers_of(connection),
            "client.id": f"claimtrace-{name}" if name else "claimtrace",
            "logger": LOGGER,
            "log.connection.close": False,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 2000,  # a restarted broker is reached within seconds
            **_security(connection.security),
            **_allowed(connection.kafka.properties),
        }
    )


def brokers_of(connection: KafkaConnection) -> str:
    """Return `host:port,host:port` of `source`.

    Raises:
        ConfigError: `source` names no Kafka cluster, or contains a login.

    >>> brokers_of(KafkaConnection("kafka://a:9092,b:9092"))
    'a:9092,b:9092'
    """
    if not connection.source.startswith(KAFKA):
        raise ConfigError("source names no Kafka cluster", where="source",
                          hint="set CLAIMTRACE_SOURCE=kafka://host:9092")  # fmt: skip
    brokers = connection.source.removeprefix(KAFKA).strip("/")
    if "@" in brokers:  # the error doesn't show it: a password may precede the @
        hint = "set security.username and CLAIMTRACE_SECURITY__PASSWORD"
        raise ConfigError("source has a login in it", where="source", hint=hint)
    return brokers


def connect(kind: type[T], config: Mapping[str, Any]) -> T:
    """Make a client of a kind (`Consumer`, `Producer`, `AdminClient`); nothing is sent yet.

    Raises:
        ConfigError: librdkafka refuses a property, which the error names.
    """
    try:
        return kind(config)  # type: ignore[call-arg]
    except KafkaException as error:
        what = f"the Kafka client can't be made: {error.args[0].str()}"
        hint = "see kafka.properties, and the files of security"
        raise ConfigError(what, where="kafka", hint=hint) from None  # its arguments hold secrets
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a property of Kafka has the wrong type: {error}",
                          where="kafka.properties") from None  # fmt: skip


class BrokerErrors:
    """The `error_cb` of a client: librdkafka's errors that belong to no call.

    Only a few of them need a person: a refused login, an invalid certificate, a token that can't be
    made. `check` raises those, so that a wrong password doesn't make the caller wait for ever. All
    others pass by themselves.

    Attributes:
        last: text of the last error since a broker answered, to report why nothing progresses.
        down: whether all brokers are down.

    >>> broker_errors = BrokerErrors(KafkaConnection("kafka://a:9092"))
    >>> broker_errors(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    >>> broker_errors.down, broker_errors.last
    (True, '1/1 brokers are down')
    >>> broker_errors.answered()
    >>> broker_errors.down
    False
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._where = brokers_of(connection)
        self._user = connection.security.username
        self._region = connection.security.region
        self._unrecoverable: KafkaError | None = None
        self.last = ""
        self.down = False

    def __call__(self, error: KafkaError) -> None:
        """Store an error; librdkafka calls this from `poll`, `consume` and `flush`."""
        self.last = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.down = True
        elif error.fatal() or hint_for(error, self._where) is not None:
            self._unrecoverable = error

    def answered(self) -> None:
        """Reset `down` and `last`, since a broker has answered."""
        self.down = False
        self.last = ""

    def check(self) -> None:
        """Raise the stored error if waiting can't resolve it.

        Raises:
            ConfigError: a login, certificate, token or ACL is refused; the hint names the setting.
            StateError: the client can't be used any more.
        """
        if self._unrecoverable is None:
            return
        if "OAUTHBEARER" in self._unrecoverable.str() and self._region:
            raise ConfigError(
                f"no login at the brokers: {self._unrecoverable.str()}",
                where=self._where,
                hint=IDENTITY_HINT,
            )
        what = "the brokers refuse this client"
        raise error_of(self._unrecoverable, what, self._where, user=self._user)


def _security(security: SecuritySettings) -> dict[str, Any]:
    """Return the properties of login and certificates. The host name is always verified."""
    protocol = security.protocol
    config: dict[str, Any] = {"security.protocol": protocol}
    if "ssl" in protocol.split("_"):
        config |= _certificates(security)
    if protocol.startswith("sasl"):
        config |= _login(security)
    return config


def _certificates(security: SecuritySettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "ssl.endpoint.identification.algorithm": "https",
        "enable.ssl.certificate.verification": True,
    }
    if security.ca_file:
        config["ssl.ca.location"] = _readable(security.ca_file, "security.ca_file")
    if bool(security.certificate_file) != bool(security.key_file):
        missing = "key_file" if security.certificate_file else "certificate_file"
        raise ConfigError("a certificate needs its key", where=f"security.{missing}",
                          hint="set both, or neither")  # fmt: skip
    if security.certificate_file:
        where = "security.certificate_file"
        config["ssl.certificate.location"] = _readable(security.certificate_file, where)
        config["ssl.key.location"] = _readable(security.key_file, "security.key_file")
    if security.key_password:
        config["ssl.key.password"] = security.key_password
    return config


def _login(security: SecuritySettings) -> dict[str, Any]:
    config: dict[str, Any] = {"sasl.mechanism": security.mechanism}
    if security.mechanism == "OAUTHBEARER":
        return config | {"oauth_cb": token_callback(security.region)}
    if not security.username:
        raise ConfigError(f"{security.mechanism} needs a user", where="security.username",
                          hint="set CLAIMTRACE_SECURITY__USERNAME")  # fmt: skip
    password = security_password(security)
    return config | {"sasl.username": security.username, "sasl.password": password}


def security_password(security: SecuritySettings) -> str:
    """Return the password, from its variable or its file.

    Raises:
        ConfigError: no password or two passwords are set, or the file can't be read or is empty.
    """
    if security.password and security.password_file:
        raise ConfigError("there are two passwords", where="security.password_file",
                          hint="unset CLAIMTRACE_SECURITY__PASSWORD or the file")  # fmt: skip
    if security.password:
        return security.password
    if not security.password_file:
        what = f"{security.mechanism} needs a password"
        hint = "set CLAIMTRACE_SECURITY__PASSWORD or security.password_file"
        raise ConfigError(what, where="security.password", hint=hint)
    try:
        password = Path(security.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise ConfigError(f"can't read security.password_file: {reason}",
                          where=security.password_file) from None  # fmt: skip
    if not password:
        raise ConfigError("security.password_file is empty", where=security.password_file)
    return password


def _readable(path: str, where: str) -> str:
    """Return a path after opening its file.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise ConfigError(f"can't read {where}: {error.strerror}", where=path) from None


def _allowed(properties: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    """Return the properties if all are allowed.

    Raises:
        ConfigError: a property would lose records, holds a secret, or has a setting of its own.
    """
    for name in properties:
        where = f"kafka.properties: {name}"  # never its value
        if name in _OWN:
            raise ConfigError(f"{name} has a setting of its own", where=where,
                              hint=f"use {_OWN[name]}")  # fmt: skip
        if name in _REFUSED:
            raise ConfigError(f"{name} can't be set: {_REFUSED[name]}", where=where,
                              hint="leave it out")  # fmt: skip
        if any(word in name.lower() for word in _SECRET):
            raise ConfigError(f"{name} is a secret: it must not be in the settings", where=where,
                              hint="use the settings of security")  # fmt: skip
        if name.startswith("test.") or name.endswith("_cb") or name == "logger":
            raise ConfigError(f"{name} can't be set", where=where, hint="leave it out")
        if name == "message.max.bytes" and not _is_enough(properties[name]):
            raise ConfigError(f"with this {name} a dead letter may be too large to be sent",
                              where=where, hint=f"{MAX_DEAD_LETTER_BYTES} or more")  # fmt: skip
    return dict(properties)


def _is_enough(bytes_allowed: str | int | bool) -> bool:
    """Whether a limit on a message's size lets every dead letter through; librdkafka refuses what
    is no number."""
    text = str(bytes_allowed).strip()
    return not text.isdecimal() or int(text) >= MAX_DEAD_LETTER_BYTES
