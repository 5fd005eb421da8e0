"""Amazon's own DynamoDB for one machine, in memory, for tests.

    with DynamoLocal(folder) as dynamo:
        client = dynamo.client()

The server has no setting for the address to listen on: it runs during tests only.
"""

from __future__ import annotations

from typing import Any, Final

from tests.servers.aws_local import AwsLocal
from tests.servers.fetch import dynamodb_jars, java

_MAIN: Final = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"


class DynamoLocal(AwsLocal):
    """One DynamoDB server with its tables in memory."""

    name, service = "dynamodb", "dynamodb"

    def _command(self) -> list[str]:
        jars = dynamodb_jars()
        return [
            java(), "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dsqlite4java.library.path={jars}", "-cp", f"{jars}/*", _MAIN,
            "-inMemory", "-port", str(self.port), "-disableTelemetry",
        ]  # fmt: skip

    def _ask(self, client: Any) -> None:
        client.list_tables()
