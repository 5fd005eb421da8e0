"""The `Table` of `.table` in an SQLite file, for workers on one machine."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ...clock import Clock
from ...errors import ConfigError, StateError
from ..files.sqlite_file import FileKind, named_errors, open_file
from .table import Change, Item

_KIND: Final = FileKind(
    "table", 0x434C4D54 + 1, 1,
    "CREATE TABLE items (pk TEXT NOT NULL, sk TEXT NOT NULL, item BLOB NOT NULL, "
    "PRIMARY KEY (pk, sk)) WITHOUT ROWID",
)  # fmt: skip
_GET: Final = "SELECT item FROM items WHERE pk = ? AND sk = ?"
_PUT: Final = "INSERT OR REPLACE INTO items VALUES (?, ?, ?)"
_FROM: Final = "SELECT sk, item FROM items WHERE pk = ? AND sk >= ? ORDER BY sk LIMIT ?"
_AFTER: Final = "SELECT sk, item FROM items WHERE pk = ? AND sk > ? ORDER BY sk LIMIT ?"
_items = msgspec.json.Decoder(Item)
_encode = msgspec.json.Encoder().encode


class SqliteTable:
    """One table in a file that each worker opens. Writes are synced when a call returns.

    >>> import tempfile
    >>> from claimtrace.clock import ManualClock
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = SqliteTable(Path(folder) / "shared.db")
    ...     table.create(ManualClock())
    ...     table.put(Change({"pk": "a", "sk": "b", "n": 1}, None))
    ...     table.put(Change({"pk": "a", "sk": "b", "n": 2}, {"n": 7}))
    ...     table.get("a", "b")
    True
    True
    False
    {'pk': 'a', 'sk': 'b', 'n': 1}
    """

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, str(path)
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def create(self, clock: Clock) -> bool:  # noqa: ARG002
        """Create the file if it is missing; False when it existed already."""
        is_new = not self._path.exists()
        with self._lock:
            self._db = open_file(_KIND, self._path, create=True, durable=True, any_thread=True)
        return is_new

    def is_there(self) -> bool:
        """Whether the file exists."""
        return self._path.exists()

    def get(self, pk: str, sk: str) -> Item | None:
        """Return an item, or None."""
        with self._open() as db:
            found = db.execute(_GET, (pk, sk)).fetchone()
        return self._read(found[0]) if found else None

    def query(self, pk: str, from_sk: str = "", limit: int = 1000) -> Iterator[Item]:
        """Yield the items of `pk` in the order of `sk`, from `from_sk` on, `limit` a query."""
        page = _FROM
        while True:
            with self._open() as db:
                rows = db.execute(page, (pk, from_sk, limit)).fetchall()
            for _, item in rows:
                yield self._read(item)
            if len(rows) < limit:
                return
            page, from_sk = _AFTER, rows[-1][0]

    def put(self, change: Change) -> bool:
        """Write an item if the stored one is as expected; False when it isn't."""
        return self.put_all([change])

    def put_always(self, item: Mapping[str, str | int]) -> None:
        """Write an item unconditionally."""
        with self._open() as db:
            db.execute(_PUT, (item["pk"], item["sk"], _encode(item)))

    def put_all(self, changes: Sequence[Change]) -> bool:
        """Write all items, or none when a stored one isn't as expected (False)."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                is_expected = all(self._is_expected(db, change) for change in changes)
                if is_expected:
                    for item, _ in changes:
                        db.execute(_PUT, (item["pk"], item["sk"], _encode(item)))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has rolled back by itself on some errors
                    db.execute("ROLLBACK")
                raise
        return is_expected

    def delete(self, pk: str, sk: str) -> None:
        """Remove an item; no error when it doesn't exist."""
        with self._open() as db:
            db.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (pk, sk))

    def _is_expected(self, db: sqlite3.Connection, change: Change) -> bool:
        found = db.execute(_GET, (change.item["pk"], change.item["sk"])).fetchone()
        if change.expected is None or found is None:
            return change.expected is None and found is None
        stored = self._read(found[0])
        return all(stored.get(name) == value for name, value in change.expected.items())

    def _read(self, item: bytes) -> Item:
        try:
            return _items.decode(item)
        except msgspec.DecodeError as error:
            raise StateError(f"an item can't be read: {error}", where=self.name) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock, named_errors(_KIND, self._path):
            if self._db is None:
                if not self._path.exists():
                    raise ConfigError("the table isn't there", where=self.name,
                                      hint="run `claimtrace topics create`")  # fmt: skip
                self._db = open_file(_KIND, self._path, create=False, durable=True, any_thread=True)
            yield self._db
