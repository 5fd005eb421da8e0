"""The doctor's look at what the workers of one journal must share: registry and offline store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimtrace.errors import ConfigError
from claimtrace.settings.schema import KAFKA

if TYPE_CHECKING:
    from ...wiring.workspace import Workspace


def check_sharing(workspace: Workspace) -> str:
    """Say whether other workers can have the same registry and offline store.

    Raises:
        ConfigError: the group has several workers, and this one keeps a part to itself.
    """
    settings = workspace.settings
    own = [name for name in ("models", "offline") if not getattr(settings, name)]
    members: list[str] = []
    if settings.source.startswith(KAFKA):
        from claimtrace.adapters.kafka.group_members import members_of

        members = members_of(settings.kafka_connection)
    workers = f"{len(members)} in the group" if members else "no other worker is known"
    if not own:
        return f"registry {settings.models}, offline store {settings.offline}; workers: {workers}"
    words = " and ".join(own)
    if len(members) > 1:
        raise ConfigError(
            f"{len(members)} workers are in the group {settings.kafka.group}, and this one keeps "
            f"{words} in {workspace.folder}, where the others don't look",
            hint="give all workers the same settings models and offline: see docs/kafka.md",
        )  # fmt: skip
    return f"{words} in {workspace.folder}, for one worker only; workers: {workers}"
