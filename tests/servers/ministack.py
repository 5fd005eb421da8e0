"""ministack: the AWS services without a stand-in of their own here, in memory, for tests.

    with Ministack(folder) as aws:
        client = aws.client("sns")

It is used for enhanced fan-out, SNS, CloudWatch and S3. Reading and resharding of streams are
tested on `tests.servers.kinesis`, conditional writes on `tests.servers.dynamodb`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from tests.servers.aws_local import REGION, AwsLocal
from tests.servers.broker import HOST
from tests.servers.fetch import ministack_packages

ACCOUNT: Final = "000000000000"
_SERVICES: Final = "kinesis,sns,sqs,s3,cloudwatch,monitoring"


class Ministack(AwsLocal):
    """One server for several services."""

    name, service = "ministack", "s3"
    subscription_s = 300
    """Seconds after which the server ends a subscription to a shard, as AWS does."""

    def _command(self) -> list[str]:
        program = (
            "import ministack.services.kinesis as kinesis; from ministack.app import main; "
            f"kinesis.SUBSCRIPTION_SECONDS = {self.subscription_s}; main()"
        )
        return [sys.executable, "-c", program]

    def _environment(self) -> Mapping[str, str]:
        return {
            "BIND_HOST": HOST, "GATEWAY_PORT": str(self.port), "MINISTACK_HOST": HOST,
            "MINISTACK_REGION": REGION, "MINISTACK_ACCOUNT_ID": ACCOUNT, "SERVICES": _SERVICES,
            "LOG_LEVEL": "WARNING", "TMPDIR": str(self._folder),
            "S3_DATA_DIR": str(self._folder / "s3"), "PYTHONPATH": str(ministack_packages()),
        }  # fmt: skip

    def _ask(self, client: Any) -> None:
        client.list_buckets()
