"""Where a server may listen, under which protection: refusals at start-up, and weak settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from claimtrace.errors import ConfigError

LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost"})
FIX_TLS: Final = (
    "set serve.tls_certificate_file and serve.tls_key_file, or serve.behind_proxy = true behind a "
    "proxy that ends TLS"
)
FIX_KEYS: Final = "make a key: claimtrace keys add --name NAME --role ROLE; or set serve.jwt_issuer"


@dataclass(frozen=True, slots=True)
class Exposure:
    """Settings that decide who can reach a server, and how well the way to it is protected.

    Attributes:
        host: the address or name that it listens on.
        certificate, key: whether `serve.tls_certificate_file` and `serve.tls_key_file` are set.
        behind_proxy: whether a trusted proxy ends TLS before it.
        keys: how many valid API keys there are.
        had_keys: whether there was ever a key: to revoke the last one opens nothing.
        tokens: whether tokens (JWT) are accepted.
    """

    host: str
    certificate: bool = False
    key: bool = False
    behind_proxy: bool = False
    keys: int = 0
    had_keys: bool = False
    tokens: bool = False

    @property
    def encrypted(self) -> bool:
        """Whether this server ends TLS itself."""
        return self.certificate and self.key

    @property
    def on_loopback(self) -> bool:
        """Whether only programs of this machine can reach it."""
        return is_loopback(self.host)

    @property
    def open(self) -> bool:
        """Whether it answers callers without a credential: on loopback, before the first key."""
        asks = self.keys or self.had_keys or self.tokens or self.behind_proxy
        return self.on_loopback and not asks


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine alone; a name that isn't known doesn't.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check_exposure(exposure: Exposure, where: str) -> None:
    """Refuse to listen where others could read the traffic, or call without a key.

    Args:
        exposure: the settings and the keys.
        where: the setting or option that names the address.

    Raises:
        ConfigError: with the fix.

    >>> check_exposure(Exposure("127.0.0.1"), "serve.listen")
    >>> check_exposure(Exposure("0.0.0.0", keys=1), "serve.listen")
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: 0.0.0.0 is reached from other machines, and nothing encrypts the
    way [serve.listen] (set serve.tls_certificate_file and serve.tls_key_file, or serve.behind_proxy
    = true behind a proxy that ends TLS)
    """
    if exposure.certificate != exposure.key:
        has, lacks = "certificate", "key"
        if exposure.key:
            has, lacks = lacks, has
        raise ConfigError(f"TLS needs two files: serve.tls_{has}_file is set, and "
                          f"serve.tls_{lacks}_file isn't", where=f"serve.tls_{lacks}_file",
                          hint=f"set serve.tls_{lacks}_file")  # fmt: skip
    if not exposure.on_loopback and not (exposure.encrypted or exposure.behind_proxy):
        raise ConfigError(
            f"{exposure.host} is reached from other machines, and nothing encrypts the way",
            where=where, hint=FIX_TLS,
        )  # fmt: skip
    if not (exposure.keys or exposure.tokens or exposure.open):
        raise ConfigError(
            "nobody could call it: there is no valid key, and no tokens are accepted",
            where=where, hint=FIX_KEYS,
        )  # fmt: skip


def said_at_start(exposure: Exposure) -> str:
    """Return the line that a server prints at start-up about who may call.

    >>> said_at_start(Exposure("127.0.0.1"))
    'open: every program on this machine may call it without a key; claimtrace keys add ends that'
    """
    if exposure.open:
        return (
            "open: every program on this machine may call it without a key; "
            "claimtrace keys add ends that"
        )
    who = [f"{exposure.keys} API keys"] if exposure.keys else []
    who += ["tokens of the issuer"] if exposure.tokens else []
    way = "TLS" if exposure.encrypted else "a proxy before it" if exposure.behind_proxy else ""
    return f"callers need a credential: {' or '.join(who)}" + (f"; {way}" if way else "")


def weaknesses(exposure: Exposure, *, keys_without_end: int = 0) -> Iterator[tuple[str, str]]:
    """Yield each weak setting in words, with its fix; `claimtrace doctor` shows them.

    Args:
        exposure: the settings and the keys.
        keys_without_end: valid keys that never expire.
    """
    try:
        check_exposure(exposure, "serve.listen")
    except ConfigError as error:
        yield error.what, error.hint
    if exposure.open:
        yield "every program on this machine may call without a key", FIX_KEYS
    if exposure.behind_proxy and not exposure.on_loopback and not exposure.encrypted:
        yield (f"the way from the proxy to {exposure.host} isn't encrypted",
               "listen on 127.0.0.1 beside the proxy, or set the two serve.tls_ files")  # fmt: skip
    if keys_without_end:
        yield (f"{keys_without_end} keys never expire",
               "give new ones an end, --days 365, and revoke the old ones")  # fmt: skip
