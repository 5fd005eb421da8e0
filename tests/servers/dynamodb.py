"""Amazon's own DynamoDB for one machine, in memory, for tests.

    with DynamoLocal(folder) as dynamo:
        client = dynamo.client()

It has no setting for the address to listen on: it is started for tests only and ends with them.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from claimtrace.errors import StoreUnavailable
from tests.servers.broker import HOST, STARTER, dies_with_us, free_ports
from tests.servers.fetch import dynamodb_jars, java
from tests.servers.kinesis import REGION

READY_TIMEOUT_S: Final = 60.0
_MAIN: Final = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"


class DynamoLocal:
    """One server; usable in `with`.

    Args:
        folder: holds its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{HOST}:{self.port}"

    def client(self, **more: Any) -> Any:
        """A client of it that doesn't try again."""
        return boto3.client(
            "dynamodb", region_name=REGION, endpoint_url=self.endpoint,
            aws_access_key_id="local", aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=20, **more),
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            ServerMissing: there is no Java, or nothing to run.
            StoreUnavailable: it doesn't answer.
        """
        jars = dynamodb_jars()
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [
            java(), "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dsqlite4java.library.path={jars}", "-cp", f"{jars}/*", _MAIN,
            "-inMemory", "-port", str(self.port), "-disableTelemetry",
        ]  # fmt: skip
        with (self._folder / "dynamodb.log").open("ab") as log:
            self._process = STARTER.submit(
                subprocess.Popen, [*dies_with_us(), *command], cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            ).result()  # fmt: skip
        client, until_s = self.client(), time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                client.list_tables()
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > until_s or self._process.poll() is not None:
                    raise StoreUnavailable("DynamoDB Local doesn't start",
                                           where=str(self._folder)) from error  # fmt: skip
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """End it; its tables are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> DynamoLocal:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
