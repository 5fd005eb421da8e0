"""Tokens (JWT) of an identity provider: checked against keys, algorithms, issuer and audience.

All of these are fixed by the settings; nothing in a token chooses them. `kid` only picks one of the
keys in the file, by equality. Algorithms with a shared secret are not offered, so a public key can
never be taken for one. The time is an argument. PyJWT is imported when the first token is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from claimtrace.errors import ConfigError

from ..roles import scopes_of
from .caller import Caller, Denied, bad_credential, expired
from .rate import Rate

MOST_TOKEN_CHARS: Final = 8 * 1024
MOST_SUBJECT_CHARS: Final = 128
MOST_KEYS: Final = 100
LEEWAY_S: Final = 30
"""Difference of clocks between the issuer and here that is let pass."""

_HEADER: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""Header fields that a token may have. Those that bring or name a key (`jwk`, `jku`, `x5c`, `x5u`)
or change how it is read (`b64`, `crit`, `zip`) are refused."""
_REQUIRED: Final = ("aud", "iss", "exp", "nbf", "sub")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Rules that a token must keep; see the settings `serve.jwt_...`."""

    algorithms: tuple[str, ...]
    issuer: str
    audience: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The issuer's public keys by `kid`; the name is empty for the only key of a PEM file."""

    by_id: Mapping[str, Any]

    def of(self, key_id: object) -> Any | None:
        """Return the key that a token names; None when it names none of them.

        A token without `kid` is checked with the only key, where there is but one.
        """
        if key_id is None and len(self.by_id) == 1:
            return next(iter(self.by_id.values()))
        if "" in self.by_id:  # a PEM file has no names
            return self.by_id[""]
        return self.by_id.get(key_id) if isinstance(key_id, str) else None


def read_trusted_keys(content: bytes, where: str) -> TrustedKeys:
    """Read a file of the issuer's public keys: a JWK set, or one key as PEM.

    Raises:
        ConfigError: it is neither, holds a private or shared key, or two keys of one name.
    """
    if content.lstrip().startswith(b"-----BEGIN"):
        return TrustedKeys({"": _pem_key(content, where)})
    try:
        found = msgspec.json.decode(content, type=_KeySet).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"neither a JWK set nor a public key as PEM: {error}", where=where,
            hint="save the issuer's jwks_uri to this file",
        ) from error  # fmt: skip
    keys: dict[str, Any] = {}
    for each in [key for key in found if key.get("use", "sig") == "sig"][:MOST_KEYS]:
        name = each.get("kid")
        if not isinstance(name, str) or not name or name in keys:
            raise ConfigError("each key needs a kid of its own", where=where)
        keys[name] = _jwk(each, where)
    if not keys:
        raise ConfigError("it holds no key for signatures", where=where)
    return TrustedKeys(keys)


def caller_of(token: str, rules: TokenRules, keys: TrustedKeys, now_ms: int) -> Caller | Denied:
    """Return who a token speaks for, or why it is refused; total: any text gives one of the two.

    Args:
        token: the text behind `Bearer`.
        rules: algorithms, issuer and audience of the settings.
        keys: the issuer's public keys.
        now_ms: the wall time.
    """
    import jwt

    if len(token) > MOST_TOKEN_CHARS:
        return bad_credential("token too long")
    try:
        header = jwt.get_unverified_header(token)
        if not set(header) <= _HEADER:
            return bad_credential("token header brings a key or an extension")
        if header.get("alg") not in rules.algorithms:
            return bad_credential("token algorithm")
        key = keys.of(header.get("kid"))
        if key is None:
            return bad_credential("token names an unknown key")
        claims = jwt.decode(
            token, key, algorithms=list(rules.algorithms), audience=rules.audience,
            issuer=rules.issuer,
            options={"require": list(_REQUIRED), "verify_exp": False, "verify_nbf": False,
                     "verify_iat": False, "enforce_minimum_key_length": True},
        )  # fmt: skip
    except jwt.PyJWTError as error:
        return bad_credential(f"token: {type(error).__name__}")
    except Exception as error:  # a hostile token must not end in an error of ours
        return bad_credential(f"token: {type(error).__name__}")
    return _in_time(claims, now_ms) or _caller(claims, rules)


def _in_time(claims: Mapping[str, Any], now_ms: int) -> Denied | None:
    times = {name: claims.get(name, 0) for name in ("exp", "nbf", "iat")}
    if any(type(value) not in (int, float) for value in times.values()):
        return bad_credential("token times are no numbers")
    now_s = now_ms / 1000
    if not now_s < times["exp"] + LEEWAY_S:  # also refuses a NaN
        return expired("token expired")
    if not times["nbf"] - LEEWAY_S <= now_s or not times["iat"] - LEEWAY_S <= now_s:
        return bad_credential("token isn't valid yet")
    return None


def _caller(claims: Mapping[str, Any], rules: TokenRules) -> Caller | Denied:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_SUBJECT_CHARS:
        return bad_credential("token subject")
    roles, scope = claims.get("roles", []), claims.get("scope", "")
    names = [each for each in roles if isinstance(each, str)] if isinstance(roles, list) else []
    scopes = scope.split() if isinstance(scope, str) else []
    rights = scopes_of(names, scopes)
    return Caller(f"token:{subject}", ",".join(sorted(rights)) or "no role", rights, rules.rate)


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _jwk(each: dict[str, Any], where: str) -> Any:
    import jwt

    if each.get("kty") not in ("RSA", "EC", "OKP") or "d" in each:
        raise ConfigError("it holds a private or a shared key", where=where,
                          hint="keep public keys in it only")  # fmt: skip
    try:
        return jwt.PyJWK(each)
    except jwt.PyJWTError as error:
        raise ConfigError(f"the key {each['kid']} can't be used: {error}", where=where) from error


def _pem_key(content: bytes, where: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(content)
    except ValueError as error:
        raise ConfigError("the PEM file holds no public key", where=where,
                          hint="write BEGIN PUBLIC KEY, not a certificate or private key",
                          ) from error  # fmt: skip
