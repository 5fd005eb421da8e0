"""Files of rows into a bucket, one request each, while other threads run.

delta-rs' own file system lets no other thread run until S3 has answered, retries included: batches,
leases and `/ready` would stand still for minutes while S3 is away. And it makes three requests.
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
    """A folder of a bucket that files are put into.

    Region, endpoint and credentials are found where every AWS tool finds them.

    Args:
        folder: `s3://bucket/prefix`.
        client: of boto3; None: one as the environment has it.
    """

    def __init__(self, folder: str, client: Any = None) -> None:
        self._bucket, _, self._prefix = folder.removeprefix(SCHEME).partition("/")
        self._client = client or _client()

    def below(self, name: str) -> S3Files:
        """A folder in this one."""
        return S3Files(f"{SCHEME}{self._bucket}/{self._key(name)}", self._client)

    @contextmanager
    def open_output_stream(self, name: str) -> Iterator[pa.BufferOutputStream]:
        """A sink in memory; it is the file once it is left without an error.

        Raises:
            OSError: S3 doesn't take it; with the code that it gave.
        """
        sink = pa.BufferOutputStream()
        yield sink
        body = sink.getvalue().to_pybytes()
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=body)
        except ClientError as error:
            said = error.response.get("Error", {})
            code, message = said.get("Code", ""), said.get("Message", "")
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
        s3={"addressing_style": "path"},  # as delta-rs
        request_checksum_calculation="when_required",
        user_agent_extra="claimtrace",
    )
    region = os.environ.get("AWS_REGION")  # delta-rs reads it, boto3 doesn't
    return boto3.Session().client("s3", region_name=region, config=config)
