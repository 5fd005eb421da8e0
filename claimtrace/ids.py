"""Deterministic ids and digests: the same input gives the same id on every machine."""

from __future__ import annotations

import hashlib
import uuid

import msgspec

_DECISIONS = uuid.UUID("6a1d4a52-38c6-5d3e-9a50-5f1f7f0c2b11")


def decision_id(event_id: str, decision_policy: str) -> str:
    """Return the id of the decision on one event under one policy.

    A UUID of version 5 (RFC 9562) of the policy's name and the event's id; the model's version is
    not part of it.

    >>> decision_id("c-1", "auto_claims")
    '8cac9d2b-8d68-5a61-8906-80710046be80'
    """
    hashed = hashlib.sha1(id_prefix(decision_policy) + event_id.encode(), usedforsecurity=False)
    return str(uuid.UUID(bytes=hashed.digest()[:16], version=5))


def id_prefix(decision_policy: str) -> bytes:
    """Return the bytes that are hashed in front of the event's id, for `decision_id`."""
    return _DECISIONS.bytes + f"{decision_policy}\n".encode()


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of(thing: object) -> str:
    """Return the digest of anything msgspec can encode, with the keys of objects sorted.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    return digest(canonical_json(thing))


def canonical_json(thing: object) -> bytes:
    """Return anything msgspec can encode as JSON with the keys of objects sorted.

    >>> canonical_json({"b": 1, "a": 2})
    b'{"a":2,"b":1}'
    """
    return msgspec.json.encode(thing, order="deterministic")


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key: the same on every producer and machine.

    >>> partition_of("policy-1", 4) in range(4)
    True
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % partitions
