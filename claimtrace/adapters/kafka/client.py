# ruff: noqa: SLF001 - librdkafka's own error codes begin with an underscore
"""What all clients of a Kafka cluster share: how to reach it, who we are, and its troubles.

The settings become properties of librdkafka here and nowhere else. Secrets are in the finished
configuration only, which doesn't show them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from ...errors import ConfigError
from ...settings.schema import KAFKA, KafkaConnection, SecuritySettings
from .errors import error_of, mend
from .msk_token import MEND_IDENTITY, token_callback

T = TypeVar("T")

LOGGER: Final = logging.getLogger("claimtrace.kafka")
"""Takes librdkafka's own lines; silent unless a person gives it a handler."""
LOGGER.addHandler(logging.NullHandler())  # else Python's last resort prints them raw

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
    """Properties of librdkafka that don't show themselves; `config | {...}` adds to them.

    >>> ClientConfig({"sasl.password": "p"}) | {"group.id": "g"}
    ClientConfig(group.id, sasl.password)
    """

    def __repr__(self) -> str:
        return f"ClientConfig({', '.join(sorted(self))})"

    __str__ = __repr__

    def __or__(self, other: Mapping[str, Any]) -> ClientConfig:  # type: ignore[override]
        return ClientConfig({**self, **other})


def client_config(connection: KafkaConnection) -> ClientConfig:
    """The properties that every consumer, producer and admin client is made with.

    Add what a kind of client needs with `|`; what is added wins over `kafka.properties`.

    Raises:
        ConfigError: `source` is no Kafka, a login is incomplete, a file is missing, or a property
            in `kafka.properties` would lose records, hold a secret, or has a setting of its own.
    """
    name = connection.kafka.instance
    return ClientConfig(
        {
            "bootstrap.servers": brokers_of(connection),
            "client.id": f"claimtrace-{name}" if name else "claimtrace",
            "logger": LOGGER,
            "log.connection.close": False,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 2000,  # a broker that is back is found within seconds
            **_security(connection.security),
            **_allowed(connection.kafka.properties),
        }
    )


def brokers_of(connection: KafkaConnection) -> str:
    """`host:port,host:port` of `source`.

    Raises:
        ConfigError: `source` is no Kafka, or has something else than hosts in it.

    >>> brokers_of(Settings(source="kafka://a:9092,b:9092"))
    'a:9092,b:9092'
    """
    if not connection.source.startswith(KAFKA):
        raise ConfigError("source names no Kafka cluster", where="source",
                          hint="set CLAIMTRACE_SOURCE=kafka://host:9092")  # fmt: skip
    brokers = connection.source.removeprefix(KAFKA).strip("/")
    if "@" in brokers:  # not shown: what stands before it is a password
        hint = "set security.username and CLAIMTRACE_SECURITY__PASSWORD"
        raise ConfigError("source has a login in it", where="source", hint=hint)
    return brokers


def connect(kind: type[T], config: Mapping[str, Any]) -> T:
    """Make a client of a kind (`Consumer`, `Producer`, `AdminClient`); nothing is sent yet.

    Raises:
        ConfigError: librdkafka refuses a property; names it.
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


class Troubles:
    """The `error_cb` of a client: what librdkafka says outside of any call.

    Only a few of these need a person: a refused login, a certificate that doesn't hold, a token
    that can't be had. `check` raises those at once, so that a wrong password is no endless wait.
    All others mend themselves; they are kept in `last` for a line that says why nothing moves.

    >>> troubles = Troubles(Settings(source="kafka://a:9092"))
    >>> troubles(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    >>> troubles.down, troubles.last
    (True, '1/1 brokers are down')
    >>> troubles.answered()
    >>> troubles.down
    False
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._where = brokers_of(connection)
        self._user = connection.security.username
        self._region = connection.security.region
        self._mend: KafkaError | None = None
        self.last = ""
        self.down = False

    def __call__(self, error: KafkaError) -> None:
        """Take an error; called by librdkafka from `poll`, `consume` and `flush`."""
        self.last = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.down = True
        elif error.fatal() or mend(error, self._where) is not None:
            self._mend = error

    def answered(self) -> None:
        """A broker has answered: what was said about brokers being down is over."""
        self.down = False
        self.last = ""

    def check(self) -> None:
        """Raise what waiting doesn't mend.

        Raises:
            ConfigError: login, certificate, token or ACL; the hint names the setting.
            StateError: the client is finished.
        """
        if self._mend is None:
            return
        if "OAUTHBEARER" in self._mend.str() and self._region:
            raise ConfigError(
                f"no login at the brokers: {self._mend.str()}",
                where=self._where,
                hint=MEND_IDENTITY,
            )
        what = "the brokers refuse this client"
        raise error_of(self._mend, what, self._where, user=self._user)


def _security(security: SecuritySettings) -> dict[str, Any]:
    """Login and certificates. The host name is always checked."""
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
        config["ssl.ca.location"] = _there(security.ca_file, "security.ca_file")
    if bool(security.certificate_file) != bool(security.key_file):
        missing = "key_file" if security.certificate_file else "certificate_file"
        raise ConfigError("a certificate needs its key", where=f"security.{missing}",
                          hint="set both, or neither")  # fmt: skip
    if security.certificate_file:
        where = "security.certificate_file"
        config["ssl.certificate.location"] = _there(security.certificate_file, where)
        config["ssl.key.location"] = _there(security.key_file, "security.key_file")
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
    """The password, from its variable or its file.

    Raises:
        ConfigError: there is none, there are two, or the file can't be read or is empty.
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


def _there(path: str, where: str) -> str:
    """A file's path, once it was seen to be readable."""
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise ConfigError(f"can't read {where}: {error.strerror}", where=path) from None


def _allowed(properties: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    """The properties, when none of them loses records or is a secret."""
    for name in properties:
        where = f"kafka.properties: {name}"  # never its value
        if name in _OWN:
            raise ConfigError(f"{name} has a setting of its own", where=where,
                              hint=f"use {_OWN[name]}")  # fmt: skip
        if name in _REFUSED:
            raise ConfigError(f"{name} can't be set: {_REFUSED[name]}", where=where,
                              hint="leave it out")  # fmt: skip
        if any(word in name.lower() for word in _SECRET):
            raise ConfigError(f"{name} is a secret: it has no place in the settings", where=where,
                              hint="use the settings of security")  # fmt: skip
        if name.startswith("test.") or name.endswith("_cb") or name == "logger":
            raise ConfigError(f"{name} can't be set", where=where, hint="leave it out")
    return dict(properties)
