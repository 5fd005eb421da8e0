"""The choice of a transport by the setting `source`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimtrace.settings.schema import KINESIS

if TYPE_CHECKING:
    from ..wiring.workspace import Workspace
    from .base import Transport


def open_transport(workspace: Workspace, *, create: bool = False) -> Transport:
    """Open the log that the setting `source` names; `create` makes an embedded log.

    Raises:
        UsageError: there is no embedded log yet, and none is to be made.
    """
    source = workspace.settings.source
    if source == "local":
        from .embedded import EmbeddedTransport

        return EmbeddedTransport(workspace, create=create)
    if source.startswith(KINESIS):
        from .kinesis import KinesisTransport

        return KinesisTransport(workspace)
    from .kafka import KafkaTransport

    return KafkaTransport(workspace)
