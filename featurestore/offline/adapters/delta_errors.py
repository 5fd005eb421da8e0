"""What delta-rs says went wrong, in our words: mend it, wait for it, or the table is damaged."""

from __future__ import annotations

import re
from typing import Final

from deltalake.exceptions import DeltaError

from claimtrace.errors import ClaimtraceError, ConfigError, StateError, StoreUnavailable

_RIGHTS: Final = (
    "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below "
    "the prefix"
)
_LOGIN: Final = "look at the AWS credentials and at the clock"
_TO_MEND: Final = {
    "NoSuchBucket": ("there is no such bucket", "make the bucket, or look at `offline`"),
    "AccessDenied": ("access denied", _RIGHTS),
    "AllAccessDisabled": ("access denied", _RIGHTS),
    "InvalidAccessKeyId": ("unknown credentials", _LOGIN),
    "SignatureDoesNotMatch": ("the signature is wrong", _LOGIN),
    "InvalidToken": ("the session token is wrong", _LOGIN),
    "Received redirect without LOCATION": (
        "the bucket is in another region", "set AWS_REGION to the bucket's"
    ),
    "URL scheme is not allowed": (
        "the endpoint is not encrypted", "use https, or set AWS_ALLOW_HTTP=true on this machine"
    ),
}  # fmt: skip
"""By what stands somewhere in the library's text: what it is, and what to do."""

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>(?:<Message>([^<]*)</Message>)?")


def ours(error: Exception, where: str) -> ClaimtraceError:
    """The error to raise for one of delta-rs.

    Args:
        error: a `DeltaError` or `OSError`.
        where: the table's path.

    >>> ours(OSError("Generic S3 error\\n <Code>NoSuchBucket</Code>"), "s3://claims/labels")
    ConfigError('the offline store: there is no such bucket')
    >>> ours(OSError("Generic S3 error\\n Connection refused"), "s3://claims/labels").what
    "the offline store doesn't answer: Generic S3 error, Connection refused"
    """
    text = _COLOUR.sub("", str(error))
    code = _CODE.search(text)
    for words, (what, hint) in _TO_MEND.items():
        if (code is not None and code[1] == words) or (" " in words and words in text):
            return ConfigError(f"the offline store: {what}", where=where, hint=hint)
    if isinstance(error, DeltaError) and code is None:
        return StateError(
            f"the table is damaged or of another make: {first_line(error)}", where=where
        )
    return StoreUnavailable(f"the offline store doesn't answer: {_ends(text)}", where=where)


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).strip().partition("\n")[0]


def _ends(text: str) -> str:
    """What it was and why: the first and the last line, or the code of S3 in place of the last."""
    lines = [line.strip(" ↳") for line in text.strip().splitlines()]
    code = _CODE.search(text)
    last = " ".join(part for part in code.groups() if part) if code else lines[-1]
    return lines[0] if last == lines[0] else f"{lines[0]}, {last}"
