"""Uploads of Parquet files to a bucket, with one request each, without blocking other threads.

The file system of delta-rs lets no other thread run until S3 has answered, retries included:
batches, lease renewals and `/ready` would stop for minutes during an outage of S3. It also makes
three requests for each file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import boto3
import pyarrow as pa
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SCHEME: Final = "s3://"
_CONNECT_S, _READ_S = 5, 30


class S3Files:
    """A folder of a bucket, to write files to.

    Region, endpoint and credentials come from the environment, as for other AWS tools.

    Args:
        folder: `s3://bucket/prefix`.
        client: a boto3 client for S3; None makes a client from the environment.
    """

    def __init__(self, folder: str, client: Any = None) -> None:
        self._bucket, _, self._prefix = folder.removeprefix(SCHEME).partition("/")
        self._client = client or _client()

    def below(self, name: str) -> S3Files:
        """Return a sub-folder."""
        return S3Files(f"{SCHEME}{self._bucket}/{self._key(name)}", self._client)

    @contextmanager
    def open_output_stream(
        self,
        name: str,
        buffer_size: int = 0,  # noqa: ARG002
    ) -> Iterator[pa.BufferOutputStream]:
        """Open a sink in memory; it is uploaded as a file when the context ends without an error.

        Raises:
            OSError: S3 refused the file or didn't answer; the message contains S3's code.
        """
        sink = pa.BufferOutputStream()
        yield sink
        body = sink.getvalue().to_pybytes()
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=body)
        except ClientError as error:
            details = error.response.get("Error", {})
            code, message = details.get("Code", ""), details.get("Message", "")
            # in the form of delta-rs' own messages, so that `delta_errors` reads both
            raise OSError(f"S3 error\n<Code>{code}</Code><Message>{message}</Message>") from error
        except BotoCoreError as error:
            raise OSError(f"S3 error\n{error}") from error

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")


def _client() -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        s3={"addressing_style": "path"},  # as delta-rs does
        request_checksum_calculation="when_required",
        user_agent_extra="claimtrace",
    )
    region = os.environ.get("AWS_REGION")  # delta-rs reads it, boto3 doesn't
    return boto3.Session().client("s3", region_name=region, config=config)
