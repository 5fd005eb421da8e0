"""The store that an error's `where` belongs to, in one word: what a worker says it waits for."""

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
"""The word for any place that isn't known here."""

_OUTPUTS: Final = (DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC)
_BROKERS: Final = re.compile(r"(kafka://)?[^/,\s]+:\d+(,[^/,\s]+:\d+)*")
_LOG_WORDS: Final = frozenset(["source", "sink", "log.db", "group", "kafka", "kinesis", *_OUTPUTS])
_TABLES: Final = frozenset(
    [tables.EVENTS, tables.DECISIONS, tables.LABELS, tables.PROFILES, tables.DRIFT,
     tables.DEFINITIONS]
)  # fmt: skip


class StoreNames:
    """Finds the store of a place: a path, a topic, a stream, a group, a URL.

    Args:
        topics: the domain's topics.
        places: further names and paths of these settings, each with one of `STORES`.

    >>> names = StoreNames(["claims.filed"], {"s3://lake/claims": "offline", "my-group": "log"})
    >>> [names.of(each) for each in ("claims.filed/3", "my-group", "s3://lake/claims/decisions")]
    ['log', 'log', 'offline']
    """

    def __init__(self, topics: Iterable[str] = (), places: Mapping[str, str] | None = None) -> None:
        self._topics = frozenset(topics)
        named = [(place.rstrip("/"), store) for place, store in (places or {}).items() if place]
        # the longest first: one place may lie inside of another
        self._places = sorted(named, key=lambda each: -len(each[0]))

    def of(self, where: str) -> str:
        """Return one of `STORES`, or `OTHER`."""
        where = where.split(", ")[0].rstrip("/")
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
        log_words = _LOG_WORDS | self._topics
        if _BROKERS.fullmatch(where) or name in log_words or parent in log_words:
            return "log"
        if any(each.endswith(f".{topic}") for topic in log_words for each in (name, parent)):
            return "log"  # a stream of Kinesis has a topic's name behind the common one
        if where in _TABLES:
            return "offline"
        return parent if parent in STORES else OTHER
