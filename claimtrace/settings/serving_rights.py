"""The part of the section `[serve]` that says who may call, over what, and how much."""

from __future__ import annotations

from typing import Final

import msgspec

JWT_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures of tokens that are offered: by a private key that only the issuer has."""


class RightsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys, tokens, rates, TLS and limits of `claimtrace serve`."""

    tls_certificate_file: str = ""
    """The certificate, with those between it and its authority, as PEM; with `tls_key_file`."""
    tls_key_file: str = ""
    """The private key of the certificate, as PEM, without a password; readable by the server
    alone."""
    behind_proxy: bool = False
    """A proxy that ends TLS stands before the server, and nothing else reaches it. Needed off
    loopback without a certificate; the last address in `X-Forwarded-For` is then the caller's."""
    keys: str = ""
    """The table of API keys: `file:PATH`, or a DynamoDB table for doors on several machines; empty:
    `keys.db` in the folder."""
    rate_per_s: float = 100.0
    """Requests a second of a caller, for tokens and for keys that were made without a rate."""
    rate_burst: int = 200
    """Requests at once of a caller after a pause."""
    jwt_issuer: str = ""
    """The issuer (`iss`) of tokens that are accepted beside keys; empty: no tokens."""
    jwt_audience: str = ""
    """The audience (`aud`) that a token must name."""
    jwt_algorithms: str = "RS256, ES256"
    """Algorithms of tokens, with commas; those with a shared secret aren't offered."""
    jwt_keys_file: str = ""
    """The issuer's public keys: a JWK set, or one key as PEM. It is read again when it changes."""
    max_upload_mib: int = 256
    """Most MiB of a file of claims in one request."""
