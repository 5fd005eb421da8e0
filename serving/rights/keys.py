"""API keys: their form, the hash that is stored, and the check of a key that a caller shows.

A key is `ct_ID_SECRET`. The id of twelve hex digits is no secret: it names the key in lists, logs
and the audit. The secret is 256 random bits in base32. Stored is the SHA-256 of the secret: as long
as nobody can guess 256 bits, a slow hash such as argon2 would protect nothing and cost more than
the claim.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final, NamedTuple

import msgspec

from claimtrace.errors import UsageError

from ..roles import ROLES, Scope, scopes_of
from .rate import Rate

SECRET_BYTES: Final = 32
ID_BYTES: Final = 6
"""Random bytes of a secret and of an id."""
MOST_NAME_CHARS: Final = 80
MOST_KEY_CHARS: Final = 80
"""Longest key that is looked at."""

_KEY: Final = re.compile(r"ct_([0-9a-f]{12})_([a-z2-7]{51}[aq])", re.ASCII)
_NAME: Final = re.compile(r"[\w .:@/+-]{1,80}", re.ASCII)
_NOBODY: Final = "0" * 64
"""Compared with when no key has the id, so that an unknown id takes as long as a wrong secret."""


class ShownKey(NamedTuple):
    """The two parts of a key that a caller shows."""

    key_id: str
    secret: str

    @property
    def text(self) -> str:
        """The key as a caller writes it."""
        return f"ct_{self.key_id}_{self.secret}"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key as stored: everything but its secret.

    Attributes:
        key_id: the id in the key.
        name: what the key is for, by the person who made it.
        digest: SHA-256 of the secret, 64 hex digits.
        role: the role whose scopes it has; empty: `scopes` alone.
        scopes: names of scopes beyond the role's.
        rate: requests a second, and how many at once.
        made_ms, made_by: when, and the user of the operating system.
        expires_ms: from then on it is refused; 0: never.
        revoked_ms: since then it is refused; 0: it isn't revoked.
    """

    key_id: str
    name: str
    digest: str
    role: str = ""
    scopes: tuple[str, ...] = ()
    rate: Rate
    made_ms: int
    made_by: str
    expires_ms: int = 0
    revoked_ms: int = 0

    @property
    def rights(self) -> frozenset[Scope]:
        """The scopes of the key: those of its role as the table has them now, and its own."""
        return scopes_of([self.role] if self.role else [], self.scopes)

    def state(self, now_ms: int) -> str:
        """Return `revoked`, `expired` or `valid`."""
        if self.revoked_ms:
            return "revoked"
        return "expired" if self.expires_ms and now_ms >= self.expires_ms else "valid"


def make_key(id_bytes: bytes, secret_bytes: bytes) -> ShownKey:
    """Return a key made of random bytes.

    Args:
        id_bytes: `ID_BYTES` of them.
        secret_bytes: `SECRET_BYTES` of them.

    >>> make_key(bytes(6), bytes(32)).text[:20]
    'ct_000000000000_aaaa'
    """
    assert len(id_bytes) == ID_BYTES
    assert len(secret_bytes) == SECRET_BYTES
    secret = base64.b32encode(secret_bytes).decode().rstrip("=").lower()
    return ShownKey(id_bytes.hex(), secret)


def read_key(text: str) -> ShownKey | None:
    """Return the parts of a key; None when the text hasn't the form of one.

    >>> read_key("ct_1_2") is None
    True
    """
    if len(text) > MOST_KEY_CHARS:
        return None
    found = _KEY.fullmatch(text)
    return ShownKey(found[1], found[2]) if found is not None else None


def digest_of_secret(secret: str) -> str:
    """Return the SHA-256 of a secret (52 characters for 256 bits) as 64 hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(record: KeyRecord | None, secret: str) -> bool:
    """Whether a secret is the key's, compared in constant time; False when there is no key."""
    stored = record.digest if record is not None else _NOBODY
    is_same = hmac.compare_digest(stored.encode(), digest_of_secret(secret).encode())
    return is_same and record is not None


def check_new_key(name: str, role: str, scopes: tuple[str, ...]) -> None:
    """Refuse a key without a name, or whose role or scopes are unknown or missing.

    Raises:
        UsageError: says which are known.
    """
    if not _NAME.fullmatch(name) or not name.strip():
        raise UsageError(
            "a key needs a name of 1 to 80 letters, digits, blanks and .:@/+-_", where=name[:80],
            hint="write what the key is for: --name claim-portal",
        )  # fmt: skip
    if role and role not in ROLES:
        raise UsageError(f"there is no role {role}", where="--role",
                         hint="one of " + ", ".join(ROLES))  # fmt: skip
    for scope in scopes:
        if scope not in Scope.__members__.values():
            raise UsageError(f"there is no scope {scope}", where="--scope",
                             hint="one of " + ", ".join(Scope))  # fmt: skip
    if not role and not scopes:
        raise UsageError("the key would allow nothing", where="--role",
                         hint="give it a role, or scopes: --role service")  # fmt: skip
