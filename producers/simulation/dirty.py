"""Faults of real input: missing fields, placeholders, odd spellings, unseen values, broken JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

PLACEHOLDER_PHONES: Final = ("+10000000000", "+19999999999", "unknown", "")
_OPTIONAL: Final = (
    "police_report_available",
    "authorities_contacted",
    "clinic_id",
    "repair_shop_id",
    "address",
    "num_witnesses",
    "postcode",
    "narrative",
    "driver_relationship",
)
_CATEGORIES: Final = ("incident_type", "channel", "incident_severity", "authorities_contacted")
_UNSEEN: Final = ("hail", "drone", "other/unlisted", "TBD", "vandalism")

Fields = dict[str, Any]


def _missing_fields(fields: Fields, rng: np.random.Generator) -> bytes:
    """Leave out one to three optional fields."""
    for name in rng.permutation(np.array(_OPTIONAL))[: rng.integers(1, 4)].tolist():
        fields.pop(name, None)
    return msgspec.json.encode(fields)


def _placeholder_phone(fields: Fields, rng: np.random.Generator) -> bytes:
    """Put a value that people type to get past a required field; it must not link strangers."""
    fields["phone"] = PLACEHOLDER_PHONES[int(rng.integers(len(PLACEHOLDER_PHONES)))]
    return msgspec.json.encode(fields)


def _unseen_category(fields: Fields, rng: np.random.Generator) -> bytes:
    """Put a category that no definition lists."""
    name = _CATEGORIES[int(rng.integers(len(_CATEGORIES)))]
    fields[name] = _UNSEEN[int(rng.integers(len(_UNSEEN)))]
    return msgspec.json.encode(fields)


def _mixed_case(fields: Fields, rng: np.random.Generator) -> bytes:
    """Spell the same values differently: upper or lower case, padding."""
    for name in _CATEGORIES:
        value = fields.get(name)
        if isinstance(value, str):
            fields[name] = value.upper() if rng.random() < 0.6 else f" {value.lower()} "
    vin = fields.get("vin")
    if isinstance(vin, str):
        fields["vin"] = vin.lower()
    return msgspec.json.encode(fields)


def _malformed(fields: Fields, rng: np.random.Generator) -> bytes:
    """Break the event: cut short, a wrong type, invalid UTF-8, or two documents in one value."""
    whole = msgspec.json.encode(fields)
    kind = int(rng.integers(4))
    if kind == 0:
        return whole[: int(rng.integers(1, len(whole)))]
    if kind == 1:
        return msgspec.json.encode({**fields, "total_claim_cents": "about 1,200"})
    if kind == 2:
        return whole.replace(b'"narrative":"', b'"narrative":"\xff\xfe', 1)
    return whole + whole


KINDS: Final[tuple[tuple[str, Callable[[Fields, np.random.Generator], bytes]], ...]] = (
    ("missing_fields", _missing_fields),
    ("placeholder_phone", _placeholder_phone),
    ("unseen_category", _unseen_category),
    ("mixed_case", _mixed_case),
    ("malformed", _malformed),
)


def spoil(value: bytes, kind: int, rng: np.random.Generator) -> bytes:
    """Put the fault `KINDS[kind]` into the bytes of an event.

    >>> rng = np.random.default_rng(1)
    >>> spoil(b'{"channel":"web","vin":"1HG"}', 3, rng)
    b'{"channel":"WEB","vin":"1hg"}'
    """
    return KINDS[kind][1](msgspec.json.decode(value), rng)
