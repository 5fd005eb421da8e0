"""Encode events, decisions and other structs of the product as JSON."""

from __future__ import annotations

from typing import Any

import msgspec


def encode(event: Any) -> bytes:
    """Return an event, decision or other struct of ours as JSON bytes."""
    return msgspec.json.encode(event)
