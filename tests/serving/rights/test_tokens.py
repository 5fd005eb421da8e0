"""Tokens: what is refused (E7 of the acceptance list), and that nothing in a token chooses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import ConfigError
from serving.rights.caller import Caller, Denied
from serving.rights.rate import Rate
from serving.rights.tokens import TokenRules, TrustedKeys, caller_of, read_trusted_keys
from serving.roles import Scope

NOW_S = 1_800_000_000
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RULES = TokenRules(("RS256", "ES256"), "https://issuer.example", "claimtrace", Rate(5, 5))


def jwk(key: Any, kid: str, algorithm: str) -> dict[str, Any]:
    maker = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}[algorithm]
    return {**json.loads(maker.to_jwk(key.public_key())), "kid": kid, "alg": algorithm}


def pem(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


KEY_SET = json.dumps({"keys": [jwk(RSA_KEY, "one", "RS256"), jwk(EC_KEY, "two", "ES256")]}).encode()
KEYS = read_trusted_keys(KEY_SET, "jwks.json")


def claims(**other: Any) -> dict[str, Any]:
    usual = {"iss": RULES.issuer, "aud": RULES.audience, "sub": "ann", "exp": NOW_S + 600,
             "nbf": NOW_S - 10, "roles": ["reader"]}  # fmt: skip
    return {name: value for name, value in {**usual, **other}.items() if value is not None}


def token(
    content: dict[str, Any] | None = None, key: Any = RSA_KEY, algorithm: str = "RS256",
    **headers: Any,
) -> str:  # fmt: skip
    chosen = {"kid": "one", **headers}
    kept = {name: value for name, value in chosen.items() if value is not None}
    return jwt.encode(content or claims(), key, algorithm, headers=kept)


def check(text: str, keys: TrustedKeys = KEYS, rules: TokenRules = RULES) -> Caller | Denied:
    return caller_of(text, rules, keys, NOW_S * 1000)


def b64(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_good_token_is_accepted() -> None:
    for text in (token(), token(key=EC_KEY, algorithm="ES256", kid="two")):
        found = check(text)
        assert isinstance(found, Caller)
        assert (found.id, found.rights, found.rate) == ("token:ann", {Scope.READ}, Rate(5, 5))


def test_roles_and_scopes_are_read_and_unknown_ones_give_nothing() -> None:
    found = check(token(claims(roles=["scorer", "emperor", 5], scope="models fly")))
    assert isinstance(found, Caller)
    assert found.rights == {Scope.SCORE, Scope.MODELS}
    none = check(token(claims(roles="reader", scope=["read"])))
    assert isinstance(none, Caller)
    assert none.rights == frozenset()


@pytest.mark.parametrize(("changed", "reason"), [
    ({"aud": "another"}, "InvalidAudience"), ({"aud": None}, "Missing"),
    ({"aud": ["another"]}, "InvalidAudience"), ({"iss": "https://evil.example"}, "InvalidIssuer"),
    ({"iss": None}, "Missing"), ({"exp": None}, "Missing"), ({"nbf": None}, "Missing"),
    ({"sub": None}, "Missing"), ({"sub": ""}, "subject"), ({"sub": "a" * 129}, "subject"),
    ({"exp": NOW_S - 31}, "expired"), ({"nbf": NOW_S + 31}, "yet"), ({"iat": NOW_S + 31}, "yet"),
    ({"exp": str(NOW_S + 600)}, "no numbers"), ({"exp": True}, "no numbers"),
    ({"exp": float("nan")}, "expired"), ({"nbf": float("nan")}, "yet"),
    ({"nbf": [1]}, "no numbers"),
])  # fmt: skip
def test_wrong_claims_are_refused(changed: dict[str, Any], reason: str) -> None:
    found = check(token(claims(**changed)))
    assert isinstance(found, Denied)
    assert found.status == 401
    assert reason in found.reason


def test_times_may_differ_by_the_leeway() -> None:
    for changed in ({"exp": NOW_S - 29}, {"nbf": NOW_S + 29}):
        assert isinstance(check(token(claims(**changed))), Caller)


def test_a_token_without_a_signature_is_refused() -> None:
    for algorithm in ("none", "None", "NONE", ""):
        text = f"{b64({'alg': algorithm, 'kid': 'one'})}.{b64(claims())}."
        assert isinstance(check(text), Denied), algorithm


def test_a_shared_secret_made_of_the_public_key_is_refused() -> None:
    """HS256 with the RSA key's text as the secret; also when a settings file allowed it."""
    for secret in (pem(RSA_KEY), KEY_SET):
        signed = f"{b64({'alg': 'HS256', 'kid': 'one'})}.{b64(claims())}"
        text = f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
        careless = TokenRules(("RS256", "HS256"), RULES.issuer, RULES.audience, Rate())
        for rules in (RULES, careless):
            for keys in (KEYS, read_trusted_keys(pem(RSA_KEY), "key.pem")):
                assert isinstance(check(text, keys, rules), Denied)


@pytest.mark.parametrize("kid", [
    "three", "../../dev/null", "/dev/null", "' OR 1=1 --", "", "one\x00", "ONE", " one",
    "http://evil.example/key",
])  # fmt: skip
def test_a_key_that_is_not_in_the_file_is_refused(kid: str) -> None:
    found = check(token(key=OTHER_KEY, kid=kid))
    assert isinstance(found, Denied)
    assert "unknown key" in found.reason
    signed_by_ours = check(token(kid=kid))
    assert isinstance(signed_by_ours, Denied)


@pytest.mark.parametrize("kid", [5, ["one"], {"a": 1}, True])
def test_a_kid_that_is_no_text_is_refused(kid: object) -> None:
    signed = f"{b64({'alg': 'RS256', 'kid': kid})}.{b64(claims())}"
    assert isinstance(check(f"{signed}.{b64(b'x' * 256)}"), Denied)


@pytest.mark.parametrize("header", [
    {"jwk": jwk(OTHER_KEY, "one", "RS256")}, {"jku": "https://evil.example/jwks"},
    {"x5u": "https://evil.example"}, {"x5c": ["AAAA"]}, {"b64": False, "crit": ["b64"]},
    {"crit": []}, {"zip": "DEF"},
])  # fmt: skip
def test_a_token_that_brings_its_own_key_is_refused(header: dict[str, Any]) -> None:
    for key in (OTHER_KEY, RSA_KEY):
        signed = f"{b64({'alg': 'RS256', 'kid': 'one', **header})}.{b64(claims())}"
        made = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
        text = f"{signed}.{b64(made.sign(signed.encode(), key))}"
        assert isinstance(check(text), Denied)


def test_a_token_signed_by_another_or_changed_is_refused() -> None:
    assert isinstance(check(token(key=OTHER_KEY)), Denied)
    head, _, signature = token().split(".")
    forged = b64(claims(roles=["service"]))
    assert isinstance(check(f"{head}.{forged}.{signature}"), Denied)
    assert isinstance(check(token(key=EC_KEY, algorithm="ES256", kid="one")), Denied)


def test_an_algorithm_that_the_settings_leave_out_is_refused() -> None:
    only = TokenRules(("ES256",), RULES.issuer, RULES.audience, Rate())
    assert isinstance(check(token(), rules=only), Denied)
    assert isinstance(check(token(algorithm="RS512")), Denied)
    assert isinstance(check(token(algorithm="PS256")), Denied)


def test_a_token_without_a_kid_needs_the_only_key() -> None:
    assert isinstance(check(token(kid=None)), Denied)
    one = read_trusted_keys(json.dumps({"keys": [jwk(RSA_KEY, "one", "RS256")]}).encode(), "k")
    assert isinstance(check(token(kid=None), one), Caller)
    assert isinstance(check(token(kid="any"), read_trusted_keys(pem(RSA_KEY), "p")), Caller)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: f"{b64(raw)}.{b64(raw)}.a"))
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(check(text), Denied)


def test_hostile_headers_are_answered() -> None:
    deep = b64(b"[" * 5_000)
    for text in (f"{deep}.{deep}.{deep}", "a" * 9_000, f"{b64([])}.{b64({})}.AA", "..", "é.é.é"):
        assert isinstance(check(text), Denied)


def test_the_refusal_says_nothing_about_the_token() -> None:
    for text in (token(key=OTHER_KEY), token(claims(aud="another")), token(kid="no")):
        found = check(text)
        assert isinstance(found, Denied)
        assert found.detail == "the key or token isn't accepted"


def private_pem() -> bytes:
    return RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [
    b"", b"{}", b"[]", b"{", b"\xff", b'{"keys":[]}', b'{"keys":[{"kty":"RSA"}]}',
    b'{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}',
    b'{"keys":[{"kty":"RSA","kid":"a","n":"AA","e":"AQAB","d":"AA"}]}',
    b'{"keys":[{"kty":"RSA","kid":"a","n":"!!","e":"AQAB"}]}',
    b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", private_pem(),
    json.dumps({"keys": [jwk(RSA_KEY, "a", "RS256")] * 2}).encode(),
])  # fmt: skip
def test_a_file_without_public_keys_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        read_trusted_keys(content, "keys.json")
    assert refused.value.where == "keys.json"
