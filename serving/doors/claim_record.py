"""The record of a claim that came over HTTP, as a producer would have made it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from claimtrace.events import Outgoing
from claimtrace.ids import digest, partition_of
from claimtrace.limits import MAX_ID_CHARS
from featurestore.definitions.domain import Domain

from .waiting import REQUEST_HEADER, VIA

BY_KEY: Final = 0
"""Partitions of a log whose clients know the partition of a key themselves."""


class Named(NamedTuple):
    """What a door reads of a claim before the gate: its id and key, empty where there are none."""

    claim_id: str
    key: str
    content: str


def named_in(value: bytes, domain: Domain) -> Named:
    """Read the id and the key of a claim; the gate, not this, says whether the claim is right.

    Args:
        value: the claim as JSON.
        domain: names the fields.
    """
    try:
        claim: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        claim = None
    fields = claim if isinstance(claim, dict) else {}
    found = [fields.get(name) for name in (domain.claim.id_field, domain.split_by.key)]
    claim_id, key = (
        each if isinstance(each, str) and len(each) <= MAX_ID_CHARS else "" for each in found
    )
    return Named(claim_id, key, digest(value))


def claim_record(
    topic: str, named: Named, value: bytes, request: str, now_ms: int, partitions: int
) -> Outgoing:
    """Return the record of a claim.

    Args:
        topic: of claims.
        named: as read from the claim.
        value: its bytes, as they go onto the log.
        request: the number of the request, for its headers.
        now_ms: the time of an embedded log's record; other logs have clocks of their own.
        partitions: of the topic; `BY_KEY` where the client of the log finds a key's partition.
    """
    partition = -1 if partitions == BY_KEY else partition_of(named.key, partitions)
    headers = (VIA, (REQUEST_HEADER, request.encode()))
    return Outgoing(topic, partition, named.key.encode() or None, value, now_ms, headers)
