"""The section `[serve]`: answers over HTTP."""

from __future__ import annotations

from .serving_rights import RightsSettings


class ServeSettings(RightsSettings, frozen=True, forbid_unknown_fields=True):
    """Answers over HTTP: where it listens, and who may call."""

    listen: str = "127.0.0.1:8470"
    """Address and port."""

    # looks: POST /v1/scores and GET /v1/features
    models: int = 4
    """Models that stay loaded beside those in charge; the one least recently used leaves."""
    max_behind: str = "2s"
    """Looks are refused while the state may be further behind the log than this."""
    max_waiting: int = 4096
    """Claims that may wait for an answer; a request beyond that is refused with 503."""
