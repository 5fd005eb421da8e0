"""A client for Kinesis as the settings describe it, and what a stream says of itself."""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..clock import HOUR_MS
from ..errors import ConfigError
from ..settings import KINESIS, Settings
from .kinesis_errors import code_of, named_errors

_CONNECTIONS: Final = 32
_CONNECT_S, _READ_S = 5, 15


class Stream(NamedTuple):
    """A stream; `identity` changes when it is made anew under its name."""

    name: str
    identity: str
    retention_ms: int
    shards: int
    """Those that are open."""
    is_active: bool

    @property
    def arn(self) -> str:
        """Its name in all of AWS."""
        return self.identity.rpartition("@")[0]


def aws_client(settings: Settings, service: str) -> Any:
    """A client of an AWS service.

    Raises:
        ConfigError: no region is set, or a profile isn't there.
    """
    kinesis = settings.kinesis
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        max_pool_connections=_CONNECTIONS,
        user_agent_extra="claimtrace",
    )
    with named_errors(f"can't reach {service}", "kinesis"):
        try:
            return boto3.Session().client(
                service, region_name=kinesis.region or os.environ.get("AWS_REGION") or None,
                endpoint_url=getattr(kinesis, f"{service}_endpoint", "") or None, config=config,
            )  # fmt: skip
        except (ValueError, BotoCoreError) as error:
            if isinstance(error, BotoCoreError):
                raise
            raise ConfigError(
                f"the endpoint is no URL: {error}", where=f"kinesis.{service}_endpoint"
            ) from error


def stream_name(settings: Settings, topic: str) -> str:
    """The stream that carries a topic.

    >>> stream_name(Settings(source="kinesis://prod"), "claims.filed")
    'prod.claims.filed'
    """
    return f"{settings.source.removeprefix(KINESIS).strip('/')}.{topic}"


def describe(client: Any, name: str) -> Stream:
    """What a stream says of itself.

    Raises:
        ConfigError: it isn't there, or may not be seen.
        StoreUnavailable: AWS doesn't answer.
    """
    with named_errors("can't look at the stream", name):
        return _described(client, name)


def find(client: Any, name: str) -> Stream | None:
    """The same, or None when there is no such stream."""
    with named_errors("can't look at the stream", name):
        try:
            return _described(client, name)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            return None


def _described(client: Any, name: str) -> Stream:
    found = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    made_ms = round(1000 * found["StreamCreationTimestamp"].timestamp())
    return Stream(
        name, f"{found['StreamARN']}@{made_ms}", HOUR_MS * int(found["RetentionPeriodHours"]),
        found["OpenShardCount"], found["StreamStatus"] == "ACTIVE",
    )  # fmt: skip
