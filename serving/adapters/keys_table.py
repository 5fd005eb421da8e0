"""API keys in a table that doors share: made, revoked, looked up, and when each was last used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from claimtrace.adapters.tables.table import Change, Table
from claimtrace.clock import MINUTE_MS, Clock
from claimtrace.errors import StateError, UsageError

from ..rights.keys import KeyRecord

FRESH_S: Final = 1.0
"""How long a key that was read counts as unchanged: a revoked key is refused after this."""
MOST_CACHED: Final = 10_000
"""Keys that are kept in memory, ids that no key has included."""

_KEY: Final = "key"
_USED: Final = "used"
_OF_PSEUDONYMS: Final = "secret"
_PSEUDONYMS: Final = "pseudonyms"
_reader = msgspec.json.Decoder(KeyRecord)


class KeyTable:
    """The keys in a table; secrets are never in it.

    Args:
        table: where they are.
        before_made: called before the table is made, such as to make its file private.

    Raises, from any method:
        ConfigError, StateError: the table can't be read, or rights are missing.
        StoreUnavailable: the table doesn't answer now.
    """

    def __init__(self, table: Table, before_made: Callable[[], None] = lambda: None) -> None:
        self._table, self._before_made = table, before_made
        self._there = False

    @property
    def name(self) -> str:
        """The file or table."""
        return self._table.name

    def create(self, clock: Clock) -> None:
        """Create the table if it is missing."""
        self._before_made()
        self._table.create(clock)

    def add(self, record: KeyRecord) -> None:
        """Store a new key.

        Raises:
            StateError: the id is taken: the random bytes were none.
        """
        if not self._table.put(Change(_item(record), None)):
            raise StateError(f"there is a key {record.key_id} already", where=self.name,
                             hint="try again")  # fmt: skip

    def revoke(self, key_id: str, at_ms: int) -> KeyRecord:
        """Mark a key as revoked; returns it. A key that is revoked already stays as it is.

        Raises:
            UsageError: there is no such key.
        """
        while True:
            found = self.find(key_id)
            if found is None:
                raise UsageError(f"there is no key {key_id}", where=self.name,
                                 hint="claimtrace keys list shows the ids")  # fmt: skip
            if found.revoked_ms:
                return found
            revoked = msgspec.structs.replace(found, revoked_ms=at_ms)
            before = {"record": _text(found)}
            if self._table.put(Change(_item(revoked), before)):
                return revoked

    def find(self, key_id: str) -> KeyRecord | None:
        """Return a key, or None."""
        item = self._table.get(_KEY, key_id) if self._is_there() else None
        return None if item is None else self._read(str(item.get("record")))

    def all(self) -> Iterator[tuple[KeyRecord, int]]:
        """Yield every key, revoked ones too, and when it was last used in ms; 0: never."""
        if not self._is_there():
            return
        used = {str(item["sk"]): int(item.get("at_ms", 0)) for item in self._table.query(_USED)}
        for item in self._table.query(_KEY):
            record = self._read(str(item.get("record")))
            yield record, used.get(record.key_id, 0)

    def has_any(self) -> bool:
        """Whether a key was ever made; revoked and expired ones count."""
        return self._is_there() and next(self._table.query(_KEY, limit=1), None) is not None

    def note_used(self, key_id: str, at_ms: int) -> None:
        """Store when a key was last used."""
        self._table.put_always({"pk": _USED, "sk": key_id, "at_ms": at_ms})

    def pseudonym_secret(self, fresh: str = "") -> str:
        """Return the secret of the audit's pseudonyms; a fresh one is stored if there is none.

        Args:
            fresh: random text; empty: return an empty text instead where there is none.
        """
        found = self._table.get(_OF_PSEUDONYMS, _PSEUDONYMS) if self._is_there() else None
        if found is None and fresh:
            item: dict[str, str | int] = {"pk": _OF_PSEUDONYMS, "sk": _PSEUDONYMS, "text": fresh}
            if self._table.put(Change(item, None)):
                return fresh
            found = self._table.get(_OF_PSEUDONYMS, _PSEUDONYMS)
        return "" if found is None else str(found["text"])

    def _is_there(self) -> bool:
        """Whether the table was made; asked until it is."""
        self._there = self._there or self._table.is_there()
        return self._there

    def _read(self, text: str) -> KeyRecord:
        try:
            return _reader.decode(text)
        except msgspec.DecodeError as error:
            raise StateError(f"a key can't be read: {error}", where=self.name,
                             hint="restore the table from a copy") from error  # fmt: skip


class KeyRing:
    """The keys as a door sees them: read at most once in `FRESH_S`, uses stored by the minute.

    Args:
        table: the keys.
        clock: monotonic time for freshness, wall time for uses.
    """

    def __init__(self, table: KeyTable, clock: Clock) -> None:
        self._table, self._clock = table, clock
        self._cached: OrderedDict[str, tuple[float, KeyRecord | None]] = OrderedDict()
        self._any: tuple[float, bool] | None = None
        self._used: dict[str, int] = {}
        self._stored: dict[str, int] = {}

    def is_fresh(self, key_id: str) -> bool:
        """Whether `find` answers from memory, without asking the table."""
        found = self._cached.get(key_id)
        return found is not None and self._clock.monotonic_s() - found[0] < FRESH_S

    def find(self, key_id: str) -> KeyRecord | None:
        """Return a key, or None when no key has the id."""
        if self.is_fresh(key_id):
            return self._cached[key_id][1]
        record = self._table.find(key_id)
        self._cached[key_id] = self._clock.monotonic_s(), record
        self._cached.move_to_end(key_id)
        while len(self._cached) > MOST_CACHED:
            self._cached.popitem(last=False)
        return record

    @property
    def knows_any(self) -> bool:
        """Whether `has_any` answers from memory."""
        if self._any is None:
            return False
        at_s, there = self._any
        return there or self._clock.monotonic_s() - at_s < FRESH_S

    def has_any(self) -> bool:
        """Whether a key was ever made."""
        if not self.knows_any or self._any is None:
            self._any = self._clock.monotonic_s(), self._table.has_any()
        return self._any[1]

    def used(self, key_id: str) -> None:
        """Note that a key was used now; `store_uses` writes it."""
        self._used[key_id] = self._clock.now_ms()

    def store_uses(self) -> None:
        """Store when keys were last used, each at most once a minute."""
        for key_id, at_ms in list(self._used.items()):
            if at_ms - self._stored.get(key_id, -MINUTE_MS) >= MINUTE_MS:
                self._table.note_used(key_id, at_ms)
                self._stored[key_id] = at_ms


def _text(record: KeyRecord) -> str:
    return msgspec.json.encode(record).decode()


def _item(record: KeyRecord) -> dict[str, str | int]:
    return {"pk": _KEY, "sk": record.key_id, "record": _text(record)}
