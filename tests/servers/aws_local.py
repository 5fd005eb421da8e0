"""The base class of local stand-ins for AWS: a process on 127.0.0.1, its log, its clients."""

from __future__ import annotations

import os
import subprocess
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from claimtrace.closing import Closing
from claimtrace.errors import StoreUnavailable
from tests.servers.broker import HOST, STARTER, dies_with_us, free_ports

REGION: Final = "eu-central-1"
READY_TIMEOUT_S: Final = 60.0


class AwsLocal(Closing):
    """One server; `with` starts and kills it. Its data is lost when it ends.

    Args:
        folder: the folder of the server's log.
    """

    name: ClassVar[str]
    service: ClassVar[str]
    """The default service of `client`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self.port}"

    def client(self, service: str = "", **more: Any) -> Any:
        """Return a client of the server that doesn't retry."""
        return boto3.client(
            service or self.service, region_name=REGION, endpoint_url=self.endpoint,
            aws_access_key_id="local", aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=20, **more),
        )  # fmt: skip

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            ServerMissing: a program that the server needs isn't installed.
            StoreUnavailable: the server doesn't answer.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [*dies_with_us(), *self._command()]
        environment = {**os.environ, **self._environment()}
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = STARTER.submit(
                subprocess.Popen, command, cwd=self._home(), env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            ).result()  # fmt: skip
        client, until_s = self.client(), time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                self._ask(client)
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > until_s or self._process.poll() is not None:
                    raise StoreUnavailable(f"{self.name} doesn't start",
                                           where=str(self._folder)) from error  # fmt: skip
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """Kill the server; harmless when it doesn't run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill the server."""
        self.kill()

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _ask(self, client: Any) -> None:
        """Make any call that a running server answers."""

    def _home(self) -> Path:
        """Return the working directory of the server."""
        return self._folder

    def _environment(self) -> Mapping[str, str]:
        return {}

    def __enter__(self) -> Self:
        self.start()
        return self
