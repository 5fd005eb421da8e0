"""The client of a schema registry, and its answers as our errors.

The client is confluent-kafka's own, from the extra `schemas`; it is imported when the first
registry is used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ...errors import ClaimtraceError, ConfigError, StoreUnavailable
from ...settings.schema import SchemaSettings

TIMEOUT_S: Final = 5

_mocks: dict[str, Any] = {}


def connect(settings: SchemaSettings) -> Any:
    """Return a client for the registry of the settings; one `mock://name` is one registry.

    Raises:
        ConfigError: the extra isn't installed; the address or a file is wrong.
    """
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ConfigError("a schema registry needs packages that aren't installed",
                          where="schemas.registry",
                          hint="pip install claimtrace[schemas]") from error  # fmt: skip
    address = settings.registry
    if "@" in urlsplit(address).netloc:
        raise ConfigError("the address of the registry holds a name or password",
                          where="schemas.registry",
                          hint="set schemas.username and CLAIMTRACE_SCHEMAS__PASSWORD")  # fmt: skip
    if address.startswith("mock://"):
        if address not in _mocks:
            _mocks[address] = SchemaRegistryClient.new_client({"url": address})
        return _mocks[address]
    given: dict[str, Any] = {"url": address, "timeout": TIMEOUT_S, "max.retries": 1,
                             "retries.wait.ms": 100}  # fmt: skip
    if settings.ca_file:
        given["ssl.ca.location"] = settings.ca_file
    if settings.username:
        given["basic.auth.user.info"] = f"{settings.username}:{_password(settings)}"
    try:
        return SchemaRegistryClient.new_client(given)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"not the address or certificate of a registry: {type(error).__name__}",
            where=f"schemas.registry = {address}",
            hint="write http://host:8081; check schemas.ca_file",
        ) from error


def _password(settings: SchemaSettings) -> str:
    if settings.password or not settings.password_file:
        return settings.password
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the file with the registry's password can't be read",
            where=f"schemas.password_file = {settings.password_file}",
        ) from error


def ask(call: Callable[[], Any], where: str) -> Any:
    """Return the registry's answer; None when its own error code (404xx) says "not found".

    A bare 404 is not enough: a proxy sends that too while the registry behind it restarts.

    Raises:
        StoreUnavailable: the registry doesn't answer, or not as a registry would.
        ConfigError: the registry refuses our name and password, or the schema; its certificate
            isn't trusted.
    """
    from confluent_kafka.schema_registry import SchemaRegistryError

    try:
        return call()
    except SchemaRegistryError as error:
        status, code = error.http_status_code, error.error_code
        if status == 404 and isinstance(code, int) and code // 100 == 404:
            return None
        raise _named(status, str(error.error_message), where) from error
    except Exception as error:  # from the client's HTTP library, its JSON or its parser of answers
        if _is_certificate(error):
            raise ConfigError("the registry's certificate isn't trusted", where=where,
                              hint="set schemas.ca_file to its authority's") from error  # fmt: skip
        raise StoreUnavailable(f"the schema registry doesn't answer: {type(error).__name__}",
                               where=where, hint="check schemas.registry") from error  # fmt: skip


def _named(status: int, message: str, where: str) -> ClaimtraceError:
    """Return our error for a registry's status and message."""
    message = "".join(c for c in message[:300] if c.isprintable())
    if status in (401, 403):
        return ConfigError(
            f"the schema registry refuses us ({status})",
            where=where,
            hint="check schemas.username and CLAIMTRACE_SCHEMAS__PASSWORD",
        )
    if status in (409, 422):
        return ConfigError(
            f"the schema registry refuses the schema ({status}): {message}",
            where=where,
            hint="docs/schemas.md lists how schemas may change",
        )
    return StoreUnavailable(f"the schema registry doesn't answer as one ({status})", where=where,
                            hint="check schemas.registry")  # fmt: skip


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
