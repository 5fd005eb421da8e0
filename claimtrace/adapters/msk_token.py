"""The login of Amazon MSK: a token signed with this machine's AWS identity."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ConfigError

Token = tuple[str, float]
"""The token and when it expires, in seconds since 1970 UTC."""


def token_callback(region: str) -> Callable[[str], Token]:
    """The `oauth_cb` of a client: a fresh token whenever librdkafka asks for one.

    Signing needs no network; credentials come from the usual chain of AWS (variables, profile,
    role of the machine) and never stand in our settings.

    Raises:
        ConfigError: the region is missing, or the signer isn't installed.
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

    return fresh_token
