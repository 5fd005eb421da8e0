"""The terms of a journal: settings that its decisions depend on."""

from __future__ import annotations

import msgspec

from claimtrace.errors import StateError


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What must not change under a journal, because its decisions depend on it."""

    domain: str
    definitions: str
    rules: str
    topics: list[str]
    lateness_ms: int
    remember_ms: int
    reasons: int
    drift_window_ms: int
    drift_lateness_ms: int
    drift_min_count: int
    drift_alert_m: int
    drift_alert_n: int
    partitions: int
    hash_key: str = ""
    """A digest of the key of the ids' index; the key itself is a secret."""
    topic_ids: list[str] = []
    """On Kafka: which topics the positions belong to, should one be made anew with its name."""
    schemas: str = "json"
    """`json`, or `registry` where framed values are read too."""

    def check_same(self, other: Terms, where: str) -> None:
        """Refuse to go on under other terms than the journal was begun with.

        Raises:
            StateError: names the first term that differs.
        """
        for name in self.__struct_fields__:
            if name == "topic_ids":
                continue
            before, now = getattr(self, name), getattr(other, name)
            if before != now:
                raise StateError(
                    f"the state was begun with {name} = {before}, the settings say {now}",
                    where=where,
                    hint="set it back, or start with a new folder: the log is replayed into it",
                )
