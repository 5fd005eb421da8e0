"""The section `[serve]`: answers over HTTP."""

from __future__ import annotations

from .serving_rights import RightsSettings


class ServeSettings(RightsSettings, frozen=True, forbid_unknown_fields=True):
    """Answers over HTTP: where it listens, and who may call."""

    listen: str = "127.0.0.1:8470"
    """Address and port."""
