"""The credential of a request: an API key or a token, looked up and checked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimtrace.clock import Clock
from claimtrace.errors import ConfigError

from ...rights.caller import NO_CREDENTIAL, OPEN, Caller, Denied, bad_credential, expired
from ...rights.keys import ShownKey, is_secret_of, read_key
from ...rights.tokens import TokenRules, TrustedKeys, caller_of, read_trusted_keys
from ..keys_table import KeyRing

MOST_HEADER_CHARS: Final = 9_000
_MOST_FILE_BYTES: Final = 1 << 20
_LOOK_S: Final = 1.0


class TokenKeys:
    """The issuer's public keys in a file, which is read again when it has changed.

    Raises:
        ConfigError: the file can't be read, or holds no public keys. A file that becomes so later
            leaves the keys that were read before.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._looked_s = clock.monotonic_s()
        self._mark = self._stamp()
        self._keys = self._read()

    def now(self) -> TrustedKeys:
        """Return the keys as they are now; the file is looked at once a second."""
        if self._clock.monotonic_s() - self._looked_s >= _LOOK_S:
            self._looked_s = self._clock.monotonic_s()
            try:
                mark = self._stamp()
                if mark != self._mark:
                    self._mark, self._keys = mark, self._read()
            except ConfigError:
                pass  # half written, or gone for a moment: it is looked at again
        return self._keys

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> TrustedKeys:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_FILE_BYTES)
        except OSError as error:
            raise self._unreadable(error) from error
        return read_trusted_keys(content, str(self._path))

    def _unreadable(self, error: OSError) -> ConfigError:
        return ConfigError(f"the issuer's keys can't be read: {error.strerror}",
                           where="serve.jwt_keys_file", hint=f"check {self._path}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tokens:
    """Rules that tokens must keep, and the keys that they are checked with."""

    rules: TokenRules
    keys: TokenKeys


class Credentials:
    """Finds out who calls.

    Args:
        ring: the API keys.
        tokens: None: no tokens are accepted.
        clock: the time.
        may_be_open: whether callers without a credential are let in as long as there was never a
            key: the server listens on loopback, without a proxy.
    """

    def __init__(
        self, ring: KeyRing, tokens: Tokens | None, clock: Clock, *, may_be_open: bool
    ) -> None:
        self._ring, self._tokens, self._clock = ring, tokens, clock
        self._may_be_open = may_be_open and tokens is None

    async def is_open(self) -> bool:
        """Whether no credential is asked for now."""
        if not self._may_be_open:
            return False
        if not self._ring.knows_any:
            return not await asyncio.to_thread(self._ring.has_any)
        return not self._ring.has_any()

    async def caller(self, authorization: bytes | None, *, is_open: bool) -> Caller | Denied:
        """Return who calls, or why not.

        Args:
            authorization: the header's value; None: there is none.
            is_open: of `is_open`.

        Raises:
            StoreUnavailable: the table of keys doesn't answer.
        """
        if is_open:
            return OPEN
        if authorization is None:
            return NO_CREDENTIAL
        scheme, _, text = authorization.decode("latin-1").strip().partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text or len(text) > MOST_HEADER_CHARS:
            return bad_credential("no bearer credential")
        if text.startswith("ct_"):
            shown = read_key(text)
            return bad_credential("malformed key") if shown is None else await self._of_key(shown)
        if self._tokens is None:
            return bad_credential("tokens aren't accepted")
        return caller_of(text, self._tokens.rules, self._tokens.keys.now(), self._clock.now_ms())

    async def _of_key(self, shown: ShownKey) -> Caller | Denied:
        ring = self._ring
        fresh = ring.is_fresh(shown.key_id)
        record = (
            ring.find(shown.key_id) if fresh else await asyncio.to_thread(ring.find, shown.key_id)
        )
        if not is_secret_of(record, shown.secret) or record is None:
            return bad_credential("unknown key" if record is None else "wrong secret")
        state = record.state(self._clock.now_ms())
        if state == "revoked":
            return bad_credential("revoked key")
        if state == "expired":
            return expired("expired key")
        ring.used(record.key_id)
        role = record.role or ",".join(record.scopes)
        return Caller(f"key:{record.key_id}", role, record.rights, record.rate)
