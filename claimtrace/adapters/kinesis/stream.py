"""A client for Kinesis as the settings describe it, and what a stream says of itself."""

from __future__ import annotations

from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from ...clock import HOUR_MS
from ...settings.schema import KINESIS, KinesisConnection
from ..aws.errors import code_of, named_errors


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


def stream_name(connection: KinesisConnection, topic: str) -> str:
    """The stream that carries a topic.

    >>> stream_name(KinesisConnection("kinesis://prod"), "claims.filed")
    'prod.claims.filed'
    """
    return f"{connection.source.removeprefix(KINESIS).strip('/')}.{topic}"


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
