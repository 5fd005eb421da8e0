"""Login at Amazon MSK with a token that is signed with this machine's AWS identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...errors import ConfigError

IDENTITY_HINT: Final = (
    "see security.region, and this machine's AWS identity: AWS_PROFILE, AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or the role of the machine"
)

Token = tuple[str, float]
"""The token and its expiry, in seconds since 1970 UTC."""


def token_callback(region: str) -> Callable[[str], Token]:
    """Return the `oauth_cb` of a client, which librdkafka calls whenever it needs a new token.

    Signing needs no network; credentials come from the usual chain of AWS (variables, profile,
    role of the machine) and are never in our settings.

    A first token is made at once, to find out whether it can be: librdkafka would wait ten seconds
    for one, and then not report the reason.

    Raises:
        ConfigError: the region is missing, the signer isn't installed, or this machine has no AWS
            identity.
    """
    if not region:
        raise ConfigError("OAUTHBEARER needs the region of the cluster", where="security.region",
                          hint="set CLAIMTRACE_SECURITY__REGION, e.g. eu-central-1")  # fmt: skip
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError("OAUTHBEARER needs the signer of Amazon MSK", where="security.mechanism",
                          hint="pip install 'claimtrace[msk]'") from error  # fmt: skip

    def fresh_token(_: str) -> Token:
        token, expiry_ms = MSKAuthTokenProvider.generate_auth_token(region)
        return token, expiry_ms / 1000

    try:
        fresh_token("")
    except Exception as error:
        # its type depends on the source of the identity; its text may hold parts of credentials
        raise ConfigError(f"no token can be signed: {type(error).__name__}",
                          where="security.mechanism", hint=IDENTITY_HINT) from None  # fmt: skip
    return fresh_token
