"""Names of stores: which store an error's `where` belongs to, for `/ready`, metrics and the log.

`where` is a path, a topic, an address or the name of a table. The answer is always a word of a
fixed list, so that nothing from an event can get into a label or an answer of the worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from featurestore.offline import tables

STORES: Final = ("log", "journal", "offline", "snapshots", "models", "schemas")
OTHER: Final = "other"
"""The word in place of a store that isn't known here."""

_OUTPUTS: Final = (DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC)
_BROKERS: Final = re.compile(r"((kafka|kinesis)://)?[^/,\s]+:\d+(,[^/,\s]+:\d+)*")
_LOG_WORDS: Final = frozenset(["source", "sink", "log.db", "group", "kafka", "kinesis", *_OUTPUTS])
_TABLES: Final = frozenset(
    [tables.EVENTS, tables.DECISIONS, tables.LABELS, tables.PROFILES, tables.DRIFT,
     tables.DEFINITIONS]
)  # fmt: skip


class StoreNames:
    """The stores of one worker, by the names that its errors give as `where`.

    Args:
        topics: the domain's topics.
        places: further names of stores of this worker, such as its consumer group, a table or a
            bucket, each with a word of `STORES`; a place covers what lies below it.

    >>> names = StoreNames(["claims.filed"], {"group-7": "log", "s3://bucket/rows": "offline"})
    >>> [names.store_of(where) for where in ("claims.filed/3", "group-7", "s3://bucket/rows/labels")]
    ['log', 'log', 'offline']
    >>> names.store_of("Alice Canary, 555-0199")
    'other'
    """

    def __init__(self, topics: Iterable[str], places: Mapping[str, str] | None = None) -> None:
        self._log_words = _LOG_WORDS | set(topics)
        # the longest first: the registry may lie inside the folder of another store
        named = [(place.rstrip("/"), store) for place, store in (places or {}).items() if place]
        self._places = sorted(named, key=lambda each: -len(each[0]))

    def store_of(self, where: str) -> str:
        """Return which of `STORES` an error's `where` belongs to, or `OTHER`."""
        where = where.rstrip("/")
        for place, store in self._places:
            if where == place or where.startswith(place + "/"):
                return store
        if where.startswith(("http:", "https:", "mock:")):
            return "schemas"
        *_, parent, name = ("", *where.split("/"))
        if name in STORES:
            return name
        if name == JOURNAL_TOPIC or parent == JOURNAL_TOPIC:
            return "journal"
        if _BROKERS.fullmatch(where) or name in self._log_words or parent in self._log_words:
            return "log"
        if where in _TABLES:
            return "offline"
        return parent if parent in STORES else OTHER
