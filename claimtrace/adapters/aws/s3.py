"""Objects below one prefix of an S3 bucket, with conditional writes, and S3's errors as ours."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ...errors import ConfigError, StateError, StoreUnavailable
from .errors import code_of, named_errors

SCHEME: Final = "s3://"
_CONNECT_S, _READ_S = 5, 30
_TRIES: Final = 5
_WRITER: Final = "writer"
"""Metadata of an object that is written once: whose attempt it was."""
_GONE: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_EXISTS: Final = frozenset({"PreconditionFailed", "412"})
_BUSY: Final = frozenset({"ConditionalRequestConflict", "409"})
_UNKNOWN: Final = frozenset({"NotImplemented", "501"})
CONDITIONAL_HINT: Final = (
    "the bucket's server must know If-None-Match on PutObject, as Amazon S3 does; or keep the "
    "registry in a folder"
)


def s3_client() -> Any:
    """Make a client of S3 from the environment, as other AWS tools do: region, endpoint, login.

    Raises:
        ConfigError: the profile doesn't exist, or an endpoint is no URL.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        s3={"addressing_style": "path"},  # as delta-rs does
        request_checksum_calculation="when_required",
        user_agent_extra="claimtrace",
    )
    region = os.environ.get("AWS_REGION")  # delta-rs reads it, boto3 doesn't
    with named_errors("can't reach s3", "s3"):
        try:
            return boto3.Session().client("s3", region_name=region, config=config)
        except ValueError as error:
            raise ConfigError(f"the endpoint is no URL: {error}",
                              where="AWS_ENDPOINT_URL_S3") from error  # fmt: skip


class S3Objects:
    """The objects below a prefix.

    Args:
        url: `s3://bucket/prefix`.
        client: a boto3 client for S3; None makes a client from the environment on first use.
    """

    def __init__(self, url: str, client: Any = None) -> None:
        self.url = url.rstrip("/")
        self._bucket, _, self._prefix = self.url.removeprefix(SCHEME).partition("/")
        self._made = client

    def get(self, key: str, max_bytes: int) -> bytes | None:
        """Return the bytes of an object; None if there is none.

        Raises:
            StateError: it is larger than `max_bytes`.
            ConfigError: there is no such bucket, or a right is missing.
            StoreUnavailable: S3 doesn't answer.
        """
        answer = self._get(key)
        if answer is None:
            return None
        with self._named("can't read", key):
            body: bytes = answer["Body"].read(max_bytes + 1)
        if len(body) > max_bytes:
            raise StateError(f"larger than {max_bytes:,} bytes", where=f"{self.url}/{key}")
        return body

    def put(self, key: str, body: bytes) -> None:
        """Write an object, in place of another.

        Raises:
            ConfigError, StoreUnavailable: as for `get`.
        """
        with self._named("can't write", key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=body)

    def put_new(self, key: str, body: bytes) -> bool:
        """Write an object unless there is one; of several writers one wins.

        Returns:
            Whether this call wrote the object, although the answer may have been lost once.

        Raises:
            ConfigError, StoreUnavailable: as for `get`.
        """
        writer = uuid.uuid4().hex
        for _ in range(_TRIES):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(key), Body=body, IfNoneMatch="*",
                    Metadata={_WRITER: writer},
                )  # fmt: skip
                return True
            except ClientError as error:
                code = code_of(error)
                if code in _EXISTS:
                    answer = self._get(key)
                    # an answer that was lost is asked for again by the client: then it is ours
                    return answer is not None and answer["Metadata"].get(_WRITER) == writer
                if code not in _BUSY:
                    with self._named("can't write", key):
                        raise
            except BotoCoreError:
                with self._named("can't write", key):
                    raise
        raise StoreUnavailable("others write to it", where=f"{self.url}/{key}")

    def check_conditions(self, key: str) -> None:
        """Check that the server refuses to write an object that is there already.

        Args:
            key: an object for this check alone; it is made.

        Raises:
            ConfigError: the server ignores the condition, or doesn't know it.
            StoreUnavailable: S3 doesn't answer.
        """
        for _ in range(2):  # the first time the object may be new
            if not self.put_new(key, b"for a check of conditional writes\n"):
                return
        raise ConfigError("the bucket's server ignores conditions of writes: of two people who "
                          "decide at once both would win", where=self.url,
                          hint=CONDITIONAL_HINT)  # fmt: skip

    def keys(self, below: str = "") -> list[str]:
        """Return the keys of all objects, in order, relative to the prefix.

        Args:
            below: only those that start so.

        Raises:
            ConfigError, StoreUnavailable: as for `get`.
        """
        start, found = self._key(""), []
        with self._named("can't list", below):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start + below
            )
            for page in pages:
                found += [each["Key"].removeprefix(start) for each in page.get("Contents", ())]
        return sorted(found)

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = s3_client()
        return self._made

    def _get(self, key: str) -> Any:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._key(key))
        except ClientError as error:
            if code_of(error) in _GONE:
                return None
            with self._named("can't read", key):
                raise
        except BotoCoreError:
            with self._named("can't read", key):
                raise

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}".lstrip("/")

    @contextmanager
    def _named(self, what: str, key: str) -> Iterator[None]:
        where = f"{self.url}/{key}"
        with named_errors(f"{what} the object", where):
            try:
                yield
            except ClientError as error:
                code = code_of(error)
                if code == "NoSuchBucket":
                    raise ConfigError(
                        "there is no such bucket", where=where,
                        hint="make the bucket; claimtrace makes none",
                    ) from error  # fmt: skip
                if code in _UNKNOWN:
                    raise ConfigError(f"{what} the object: {code}", where=where,
                                      hint=CONDITIONAL_HINT) from error  # fmt: skip
                if code in ("AccessDenied", "403"):
                    raise ConfigError(
                        f"{what} the object: {_message(error)}", where=where,
                        hint="allow s3:GetObject and s3:ListBucket there; to train and to decide "
                        "s3:PutObject too: docs/iam.md",
                    ) from error  # fmt: skip
                raise


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message") or code_of(error))
