"""The table that workers on Kinesis share, as in the settings: in DynamoDB, or in a file."""

from __future__ import annotations

from pathlib import Path

from ...settings.schema import FILE, KinesisSettings
from ..aws.client import aws_client
from .dynamodb import DynamodbTable
from .sqlite import SqliteTable
from .table import Table


def shared_table(kinesis: KinesisSettings) -> Table | None:
    """Return the table of the settings, or None when one worker works alone.

    Raises:
        ConfigError: no AWS region is set, or the profile doesn't exist.
    """
    name = kinesis.table
    if not name:
        return None
    if name.startswith(FILE):
        return SqliteTable(Path(name.removeprefix(FILE)))
    return DynamodbTable(aws_client(kinesis, "dynamodb"), name)
