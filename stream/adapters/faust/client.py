"""The settings of Faust's Kafka client, derived from ours so that no record is lost.

Only `stream.adapters.faust.app` imports this: Faust's import reads the command line.
"""

from __future__ import annotations

import asyncio
import ssl
from importlib.util import find_spec
from typing import Any, Final

from aiokafka.conn import AbstractTokenProvider  # type: ignore[import-untyped]
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver

from claimtrace.adapters.kafka.client import brokers_of, security_password
from claimtrace.adapters.kafka.msk_token import token_callback
from claimtrace.clock import duration_ms
from claimtrace.errors import ConfigError
from claimtrace.settings.schema import KafkaConnection, SecuritySettings

from .group import faust_group
from .guarded_fetch import guard_fetches

INSTALL: Final = "pip install 'claimtrace[faust]'"


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """A consumer thread that reads committed records only, and outlives records it can't read.

    Faust's own reads uncommitted ones unless Faust runs transactions itself.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        guard_fetches()
        made = super()._create_worker_consumer(transport)
        if not hasattr(made, "_isolation_level"):
            raise ConfigError("this aiokafka can't be told to read committed records only",
                              where="faust", hint=INSTALL)  # fmt: skip
        made._isolation_level = "read_committed"  # noqa: SLF001 - Faust has no setting for it
        return made


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(driver.Transport):  # type: ignore[misc]
    """Faust's transport, with a consumer that reads committed records."""

    Consumer = _Consumer


def app_settings(connection: KafkaConnection) -> dict[str, Any]:
    """Return Faust's settings: the brokers, and everything that keeps records from being lost.

    Raises:
        ConfigError: a login is incomplete, or aiokafka can't read compressed records.
    """
    check_codecs()
    session_s = duration_ms(connection.kafka.session_timeout) / 1000
    return {
        "id": faust_group(connection),
        "broker": ";".join(f"kafka://{each}" for each in brokers_of(connection).split(",")),
        "broker_credentials": _credentials(connection.security),
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": max(session_s / 5, 0.1),
        "consumer_group_instance_id": connection.kafka.instance or None,
        "env": {},  # else environment variables, such as PROCESSING_GUARANTEE, override these
        "key_serializer": "raw",
        "value_serializer": "raw",
        "processing_guarantee": "at_least_once",
        "consumer_auto_offset_reset": "earliest",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "stream_wait_empty": False,  # an unacknowledged event is delivered again, and recognised
        "web_enabled": False,
    }


def check_codecs() -> None:
    """Refuse to start where aiokafka can't decompress records, which would end the worker.

    Raises:
        ConfigError: cramjam is missing.
    """
    if find_spec("cramjam") is None:
        raise ConfigError("aiokafka can't read lz4, snappy or zstd without cramjam",
                          where="faust", hint=INSTALL)  # fmt: skip


def _credentials(security: SecuritySettings) -> Any:
    """Return login and certificates in Faust's form."""
    context = _tls(security) if "ssl" in security.protocol.split("_") else None
    if not security.protocol.startswith("sasl"):
        return SSLCredentials(context) if context is not None else None
    if security.mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=_Tokens(security.region), ssl_context=context)
    return SASLCredentials(
        username=security.username,
        password=security_password(security),
        ssl_context=context,
        mechanism=security.mechanism,
    )


def _tls(security: SecuritySettings) -> ssl.SSLContext:
    """Return a TLS context with the certificates; the host name is always checked."""
    context = ssl.create_default_context(cafile=security.ca_file or None)
    if security.certificate_file:
        context.load_cert_chain(
            security.certificate_file, security.key_file, security.key_password or None
        )
    return context


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens of Amazon MSK, signed in a thread so that the event loop isn't blocked."""

    def __init__(self, region: str) -> None:
        self._fresh = token_callback(region)

    async def token(self) -> str:
        """Return a token that is valid now."""
        found, _ = await asyncio.get_running_loop().run_in_executor(None, self._fresh, "")
        return found
