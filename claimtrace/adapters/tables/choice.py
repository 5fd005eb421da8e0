"""The table that workers on Kinesis share, as the settings have it: in DynamoDB, or in a file."""

from __future__ import annotations

from pathlib import Path

from ...settings.schema import FILE, KinesisSettings
from ..aws.client import aws_client
from .dynamodb import DynamodbTable
from .sqlite import SqliteTable
from .table import Table


def shared_table(kinesis: KinesisSettings) -> Table | None:
    """It, or None when one worker works alone.

    Raises:
        ConfigError: no region is set, or a profile isn't there.
    """
    name = kinesis.table
    if not name:
        return None
    if name.startswith(FILE):
        return SqliteTable(Path(name.removeprefix(FILE)))
    return DynamodbTable(aws_client(kinesis, "dynamodb"), name)
