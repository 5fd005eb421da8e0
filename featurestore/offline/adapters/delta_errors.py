"""Errors of delta-rs as our own: one to fix (with a hint), an outage to wait for, or damage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake.exceptions import DeltaError

from claimtrace.errors import (
    ClaimtraceError,
    ConfigError,
    StateError,
    StoreUnavailable,
    UsageError,
)

RESTORE: Final = (
    "`claimtrace doctor --deep` names every such file; restore it from a copy, or replay the log "
    "into a new folder"
)

_RIGHTS: Final = (
    "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below "
    "the prefix"
)
_LOGIN: Final = "check the AWS credentials and this machine's clock"
_FIXABLE: Final = {
    "NoSuchBucket": ("there is no such bucket", "make the bucket, or check the setting `offline`"),
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
"""The problem and its hint, by a code of S3 or by words in delta-rs' message."""

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_REGISTERED: Final = re.compile(r"reading the stream registered as '(\w+)' failed: ")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>(?:<Message>([^<]*)</Message>)?")


def translated(error: Exception, where: str) -> ClaimtraceError:
    """Return the error to raise in place of an error of delta-rs.

    Args:
        error: a `DeltaError` or `OSError`.
        where: the table's path.

    >>> translated(OSError("Generic S3 error\\n <Code>NoSuchBucket</Code>"), "s3://claims/labels")
    ConfigError('the offline store: there is no such bucket')
    >>> translated(OSError("Generic S3 error\\n Connection refused"), "s3://claims/labels").what
    "the offline store doesn't answer: Generic S3 error, Connection refused"
    """
    text = without_colours(str(error))
    code = _CODE.search(text)
    for words, (what, hint) in _FIXABLE.items():
        if (code is not None and code[1] == words) or (" " in words and words in text):
            return ConfigError(f"the offline store: {what}", where=where, hint=hint)
    if isinstance(error, DeltaError) and code is None:
        return StateError(
            f"the table is damaged, or not one of ours: {first_line(error)}", where=where
        )
    return StoreUnavailable(f"the offline store doesn't answer: {_summary(text)}", where=where)


def asked_error(error: Exception, where: str, hint: str = "") -> ClaimtraceError:
    """Return the error to raise in place of an error of DuckDB: a mistake, or a file's damage.

    Args:
        error: a `duckdb.Error`.
        where: the store's folder.
        hint: how to mend the statement, if it is a mistake in it.
    """
    text = _COLOUR.sub("", str(error))
    table = _REGISTERED.search(text)
    if table is None:
        return UsageError(first_line(error), where="sql", hint=hint)
    told = text[table.end() :].partition(" Detail: Python exception")[0]  # a trace follows
    return read_error(OSError(told), f"{where}/{table[1]}")


@contextmanager
def reading_errors(where: str) -> Iterator[None]:
    """Translate the errors of a reader of Parquet files; `where` is the table's path."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise read_error(error, where) from error


def read_batches(
    dataset: pads.Dataset, columns: Sequence[str], where: str
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a data set; `where` is the table's path in errors."""
    with reading_errors(where):
        yield from dataset.to_batches(columns=list(columns))


def read_error(error: Exception, where: str) -> ClaimtraceError:
    """Return the error for a file of a table that can't be read: damaged, missing, or no answer.

    >>> read_error(OSError("Object at location /x/part-1.parquet not found"), "offline/labels").what
    'a file of the offline store is missing or damaged: Object at location /x/part-1.parquet ...'
    """
    text = _COLOUR.sub("", str(error))
    if "Generic S3" in text or _CODE.search(text):
        return translated(OSError(text), where)
    return StateError(
        f"a file of the offline store is missing or damaged: {first_line(OSError(text))}",
        where=where,
        hint=RESTORE,
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().partition("\n")[0]


def without_colours(text: str) -> str:
    """Return a library's message without the escapes that colour it on a terminal."""
    return _COLOUR.sub("", text)


def _summary(text: str) -> str:
    """Shorten a message to its first line (the error) and the cause: S3's code or the last line."""
    lines = [line.strip(" ↳") for line in text.strip().splitlines()]
    code = _CODE.search(text)
    last = " ".join(part for part in code.groups() if part) if code else lines[-1]
    return lines[0] if last == lines[0] else f"{lines[0]}, {last}"
