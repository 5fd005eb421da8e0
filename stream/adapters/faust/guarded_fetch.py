"""Record batches as aiokafka reads them, which one bad record doesn't end.

aiokafka decodes the names of headers while it walks a batch, and raises on one that isn't UTF-8:
Faust's consumer would end there, and again at each start. Here a batch ends at such a record with a
stand-in for its last position (`source.is_stand_in`); the source then reads what is missing by
position (`gap_reader`), with the same client and the same rules as a plain worker.

Only `stream.adapters.faust.client` imports this: it imports aiokafka.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer import fetcher  # type: ignore[import-untyped]
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]

from claimtrace.errors import ConfigError

from .source import STAND_IN


class GuardedRecords:
    """The batches of one fetched partition, in place of aiokafka's own class."""

    def __init__(self, fetched: bytes) -> None:
        self._records = MemoryRecords(fetched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        """Return the next batch, guarded; None when there is none."""
        batch = self._records.next_batch()
        return None if batch is None else GuardedBatch(batch)


class GuardedBatch:
    """One batch: its records as far as they can be read, then a stand-in for the last position."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except MemoryError:  # says nothing about the record
            raise
        except Exception:
            yield SimpleNamespace(
                offset=self._batch.next_offset - 1, timestamp=0, timestamp_type=0, key=None,
                value=None, checksum=None, headers=[STAND_IN],
            )  # fmt: skip


def guard_fetches() -> None:
    """Have aiokafka's consumers of this process read guarded batches.

    Raises:
        ConfigError: this aiokafka reads batches in another way.
    """
    if getattr(fetcher, "MemoryRecords", None) not in (MemoryRecords, GuardedRecords):
        raise ConfigError("this aiokafka can't be told how to read a batch", where="faust",
                          hint="pip install 'claimtrace[faust]'")  # fmt: skip
    fetcher.MemoryRecords = GuardedRecords
