"""A client of an AWS service, made from the settings."""

from __future__ import annotations

import os
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from ...errors import ConfigError
from ...settings.schema import KinesisSettings
from .errors import named_errors

_CONNECTIONS: Final = 32
_CONNECT_S, _READ_S = 5, 15


def aws_client(kinesis: KinesisSettings, service: str, region: str = "") -> Any:
    """Make a client of an AWS service.

    Args:
        kinesis: the region, and endpoints that replace those of AWS.
        service: boto3's name of the service.
        region: overrides the region of the settings.

    Raises:
        ConfigError: no region is set, the profile doesn't exist, or an endpoint is no URL.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        max_pool_connections=_CONNECTIONS,
        user_agent_extra="claimtrace",
    )
    with named_errors(f"can't reach {service}", "kinesis"):
        try:
            region = region or kinesis.region or os.environ.get("AWS_REGION", "")
            return boto3.Session().client(
                service, region_name=region or None,
                endpoint_url=getattr(kinesis, f"{service}_endpoint", "") or None, config=config,
            )  # fmt: skip
        except (ValueError, BotoCoreError) as error:
            if isinstance(error, BotoCoreError):
                raise
            raise ConfigError(
                f"the endpoint is no URL: {error}", where=f"kinesis.{service}_endpoint"
            ) from error
