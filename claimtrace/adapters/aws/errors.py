"""AWS's errors as ours: a person must act, or the caller retries.

- `ConfigError`: a person must fix it. The hint names the setting, the right or the command.
- `StoreUnavailable`: it passes without anyone acting (throttling, an outage, credentials that are
  renewed). Pause and retry the same call; nothing is skipped and nothing becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from ...errors import ClaimtraceError, ConfigError, StoreUnavailable

THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
    }
)
_PASSING: Final = frozenset(
    {
        "ExpiredTokenException",
        "ExpiredToken",
        "RequestExpired",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "KMSOptInRequired",
        "ResourceInUseException",
    }
)
_LOGIN: Final = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationTokenException",
    }
)
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied"})
_MISSING: Final = frozenset({"ResourceNotFoundException"})


def code_of(error: ClientError) -> str:
    """Return AWS's error code; empty when there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def named_errors(what: str, where: str) -> Iterator[None]:
    """Turn AWS's errors into ours.

    Args:
        what: the operation that fails, such as "can't read".
        where: the stream or table concerned.

    >>> with named_errors("can't read", "claims"):
    ...     raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetRecords")
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: can't read: it isn't there [claims] (make it: claimtrace topics
    create; look at kinesis.region)
    """
    try:
        yield
    except ClientError as error:
        raise _ours(error, what, where) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigError(
            f"{what}: there are no AWS credentials", where=where,
            hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run it "
            "where a role is attached",
        ) from error  # fmt: skip
    except NoRegionError as error:
        raise ConfigError(
            f"{what}: no AWS region is set", where=where, hint="set kinesis.region or AWS_REGION"
        ) from error
    except BotoCoreError as error:  # no connection, a time-out, an answer that was cut off
        raise StoreUnavailable(f"{what}: {error}", where=where) from error


def _ours(error: ClientError, what: str, where: str) -> ClaimtraceError:
    code, message = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    detail = f"{what}: {code}" + (f", {message}" if message else "")
    if code in _MISSING:
        return ConfigError(
            f"{what}: it isn't there", where=where,
            hint="make it: claimtrace topics create; look at kinesis.region",
        )  # fmt: skip
    if code in _DENIED:
        return ConfigError(detail, where=where, hint="attach a policy that allows it")
    if code in _LOGIN:
        return ConfigError(detail, where=where, hint="check the AWS credentials and the clock")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if code in THROTTLED or code in _PASSING or status >= 500:
        return StoreUnavailable(detail, where=where)
    return ConfigError(detail, where=where)
