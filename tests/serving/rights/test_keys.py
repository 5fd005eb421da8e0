"""API keys: their form, the stored hash, and the comparison."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import UsageError
from serving.rights import keys
from serving.rights.keys import (
    KeyRecord,
    check_new_key,
    digest_of_secret,
    is_secret_of,
    make_key,
    read_key,
)
from serving.rights.rate import Rate
from serving.roles import Scope


def record(secret_bytes: bytes, **more: object) -> KeyRecord:
    shown = make_key(bytes(6), secret_bytes)
    values = {"key_id": shown.key_id, "name": "n", "digest": digest_of_secret(shown.secret),
              "rate": Rate(), "made_ms": 1, "made_by": "ann", **more}  # fmt: skip
    return KeyRecord(**values)  # type: ignore[arg-type]


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=32, max_size=32))
def test_a_key_reads_back_and_its_hash_is_of_the_secret(ident: bytes, secret: bytes) -> None:
    shown = make_key(ident, secret)
    assert read_key(shown.text) == shown
    assert base64.b32decode(shown.secret.upper() + "====") == secret
    assert digest_of_secret(shown.secret) == hashlib.sha256(shown.secret.encode()).hexdigest()


@given(st.text(max_size=90))
def test_any_text_is_a_key_or_none(text: str) -> None:
    found = read_key(text)
    assert found is None or found.text == text


@given(st.integers(0, 51), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_changed_character_is_another_secret(at: int, char: str) -> None:
    shown = make_key(bytes(6), bytes(range(32)))
    changed = shown.secret[:at] + char + shown.secret[at + 1 :]
    other = read_key(f"ct_{shown.key_id}_{changed}")
    stored = record(bytes(range(32)))
    assert is_secret_of(stored, shown.secret)
    assert other is None or is_secret_of(stored, other.secret) == (changed == shown.secret)


@pytest.mark.parametrize("text", [
    "", "ct_", "ct__", "ct_00000000000g_" + "a" * 52, "CT_000000000000_" + "a" * 52,
    "ct_000000000000_" + "a" * 51, "ct_000000000000_" + "a" * 53, "ct_000000000000_" + "A" * 52,
    "ct_000000000000_" + "a" * 51 + "b", "ct_000000000000_" + "a" * 52 + "\n",
    "ct_" + "\u0660" * 12 + "_" + "a" * 52, "x" * 100_000,
])  # fmt: skip
def test_what_has_not_the_form_is_no_key(text: str) -> None:
    assert read_key(text) is None


def test_the_secret_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when no key has the id: the same comparison is made."""
    compared: list[tuple[bytes, bytes]] = []
    in_constant_time = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return in_constant_time(one, other)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    shown = make_key(bytes(6), bytes(32))
    assert is_secret_of(record(bytes(32)), shown.secret)
    assert not is_secret_of(record(b"x" * 32), shown.secret)
    assert not is_secret_of(None, shown.secret)
    assert [len(one) for one, _ in compared] == [64, 64, 64]


def test_no_key_has_the_id_and_the_digest_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "digest_of_secret", lambda _: "0" * 64)
    assert not is_secret_of(None, "a" * 52)


def test_a_key_ends_when_it_expires_or_is_revoked() -> None:
    bits = bytes(32)
    assert record(bits).state(10**15) == "valid"
    assert [record(bits, expires_ms=100).state(t) for t in (99, 100)] == ["valid", "expired"]
    assert record(bits, expires_ms=100, revoked_ms=5).state(99) == "revoked"


def test_the_rights_are_those_of_the_role_and_its_own() -> None:
    assert record(bytes(32), role="reader").rights == {Scope.READ}
    assert record(bytes(32), scopes=("score",)).rights == {Scope.SCORE}
    assert record(bytes(32), role="gone").rights == frozenset()


@pytest.mark.parametrize(("name", "role", "scopes", "said"), [
    ("", "reader", (), "needs a name"), ("a" * 81, "reader", (), "needs a name"),
    ("a\x1b[31m", "reader", (), "needs a name"), ("a", "king", (), "no role king"),
    ("a", "", ("fly",), "no scope fly"), ("a", "", (), "allow nothing"),
])  # fmt: skip
def test_a_wrong_new_key_is_refused_with_the_fix(
    name: str, role: str, scopes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        check_new_key(name, role, scopes)
    assert refused.value.hint
