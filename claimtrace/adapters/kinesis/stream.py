"""The name and the description of a Kinesis stream."""

from __future__ import annotations

from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from ...clock import HOUR_MS
from ...settings.schema import KINESIS, KinesisConnection
from ..aws.errors import code_of, named_errors


class Stream(NamedTuple):
    """A stream's description; `identity` changes when a stream is deleted and created again."""

    name: str
    identity: str
    retention_ms: int
    shards: int
    """Number of open shards."""
    is_active: bool

    @property
    def arn(self) -> str:
        """The stream's Amazon resource name."""
        return self.identity.rpartition("@")[0]


def stream_name(connection: KinesisConnection, topic: str) -> str:
    """Return the name of the stream of a topic.

    >>> stream_name(KinesisConnection("kinesis://prod"), "claims.filed")
    'prod.claims.filed'
    """
    return f"{connection.source.removeprefix(KINESIS).strip('/')}.{topic}"


def describe(client: Any, name: str) -> Stream:
    """Return a stream's description.

    Raises:
        ConfigError: the stream doesn't exist, or the right to describe it is missing.
        StoreUnavailable: AWS doesn't answer.
    """
    with named_errors("can't look at the stream", name):
        return _described(client, name)


def find(client: Any, name: str) -> Stream | None:
    """Return a stream's description as `describe` does, or None when the stream doesn't exist."""
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
