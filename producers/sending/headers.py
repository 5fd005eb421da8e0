"""The headers of produced records: the name of the schema and a trace id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from claimtrace.events import SCHEMA_VERSION, Outgoing

SCHEMA: Final = "schema"
"""Header: topic and version of the schema, such as `claims.filed/1`."""

TRACE: Final = "traceparent"
"""Header: W3C Trace Context, level 1: `00-<trace id>-<span id>-01`."""

_TRACE_HEX: Final = 32


class Headers:
    """Adds the headers `schema` and `traceparent` to records.

    The ids of a trace are a digest of the run, the record's number, its topic and its key: no
    randomness is needed, and two runs never share a trace.

    Args:
        run: the name of this run, for example its time of start.

    >>> record = Outgoing("claims.filed", 0, b"p-1", b"{}", 1)
    >>> [dict(Headers(run)([record])[0].headers)["traceparent"][:9] for run in "ab"]
    [b'00-519169', b'00-8dfd7a']
    """

    def __init__(self, run: str) -> None:
        self._seed = hashlib.blake2b(run.encode(), digest_size=24)
        self._schemas: dict[str, tuple[str, bytes]] = {}
        self._count = 0

    def __call__(self, records: Iterable[Outgoing]) -> list[Outgoing]:
        """Return the records with these headers added, in the same order."""
        return [
            record._replace(headers=(*record.headers, *self._headers(record))) for record in records
        ]

    def _headers(self, record: Outgoing) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
        topic = record.topic
        schema = self._schemas.get(topic)
        if schema is None:
            schema = self._schemas[topic] = (SCHEMA, f"{topic}/{SCHEMA_VERSION}".encode())
        trace = self._seed.copy()
        trace.update(b"%d\n%b\n%b" % (self._count, topic.encode(), record.key or b""))
        self._count += 1
        ids = trace.hexdigest()
        parent = f"00-{ids[:_TRACE_HEX]}-{ids[_TRACE_HEX:]}-01"
        return schema, (TRACE, parent.encode())
