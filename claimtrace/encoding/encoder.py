"""Events, decisions and records of the product as JSON bytes."""

from __future__ import annotations

from typing import Any

import msgspec


def encode(event: Any) -> bytes:
    """An event, decision or record of ours as JSON bytes."""
    return msgspec.json.encode(event)
