"""`/v1/decisions/{id}/evidence` and `/what-if`."""

from __future__ import annotations

from typing import Final

from ..endpoint import Endpoint

ROUTES: Final[tuple[Endpoint, ...]] = ()
