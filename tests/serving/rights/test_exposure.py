"""Where a server may listen: refusals at start-up, and what doctor says."""

from __future__ import annotations

from itertools import product

import pytest

from claimtrace.errors import ConfigError
from serving.rights.exposure import (
    Exposure,
    check_exposure,
    is_loopback,
    said_at_start,
    weaknesses,
)


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.8.9.1", True), ("localhost", True), ("LOCALHOST", True),
    ("::1", True), ("[::1]", True), ("::ffff:127.0.0.1", True),
    ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("*", False),
    ("localhost.evil.example", False), ("127.0.0.1.evil.example", False), ("127.1", False),
    ("::ffff:10.0.0.1", False), ("claims.example", False),
])  # fmt: skip
def test_only_addresses_of_this_machine_are_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def refused(exposure: Exposure) -> str:
    try:
        check_exposure(exposure, "serve.listen")
    except ConfigError as error:
        return error.what if error.hint and error.where else "without a fix"
    return ""


def test_every_combination_is_safe_or_refused() -> None:
    """Off loopback: TLS or a proxy, and a credential. Open: on loopback alone, before any key."""
    started = 0
    for host, certificate, key, proxy, keys, had, tokens in product(
        ("127.0.0.1", "0.0.0.0"), *[(False, True)] * 6
    ):
        exposure = Exposure(host, certificate, key, proxy, int(keys), had or keys, tokens)
        if exposure.open:
            assert host == "127.0.0.1"
            assert not any((proxy, keys, had, tokens))
        if said := refused(exposure):
            assert said != "without a fix"
            continue
        started += 1
        assert host == "127.0.0.1" or (certificate and key) or proxy
        assert exposure.open or keys or tokens
        assert certificate == key
    assert started > 20


@pytest.mark.parametrize(("exposure", "words"), [
    (Exposure("0.0.0.0", keys=1), "nothing encrypts the way"),
    (Exposure("0.0.0.0", certificate=True, key=True), "nobody could call it"),
    (Exposure("127.0.0.1", certificate=True), "serve.tls_key_file isn't"),
    (Exposure("127.0.0.1", key=True, keys=1), "serve.tls_certificate_file isn't"),
    (Exposure("127.0.0.1", had_keys=True), "nobody could call it"),
    (Exposure("127.0.0.1", behind_proxy=True), "nobody could call it"),
])  # fmt: skip
def test_a_refusal_says_what_is_wrong(exposure: Exposure, words: str) -> None:
    assert words in refused(exposure)


def test_the_start_says_who_may_call() -> None:
    assert "without a key" in said_at_start(Exposure("127.0.0.1"))
    told = said_at_start(Exposure("0.0.0.0", True, True, keys=3, tokens=True))
    assert told == "callers need a credential: 3 API keys or tokens of the issuer; TLS"


@pytest.mark.parametrize(("exposure", "without_end", "words"), [
    (Exposure("127.0.0.1"), 0, "without a key"),
    (Exposure("0.0.0.0", behind_proxy=True, keys=1), 0, "isn't encrypted"),
    (Exposure("127.0.0.1", keys=2), 2, "never expire"),
    (Exposure("0.0.0.0", keys=2), 0, "nothing encrypts"),
])  # fmt: skip
def test_each_weak_setting_is_named_with_its_fix(
    exposure: Exposure, without_end: int, words: str
) -> None:
    found = list(weaknesses(exposure, keys_without_end=without_end))
    assert [words in what for what, _ in found].count(True) == 1
    assert all(hint for _, hint in found)


def test_nothing_is_said_of_strong_settings() -> None:
    assert list(weaknesses(Exposure("0.0.0.0", True, True, keys=2))) == []
    assert list(weaknesses(Exposure("127.0.0.1", behind_proxy=True, tokens=True))) == []
