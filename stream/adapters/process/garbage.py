"""Python's cycle collector and the allocator below it, told how a stream behaves."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ALIVE_OBJECTS: Final = 200_000
"""A batch of 2,000 has fewer at any time, so a collection begins between batches if at all."""

_MIB: Final = 1 << 20
_MALLOPT: Final = {-1: 1024 * _MIB, -2: 32 * _MIB, -3: 32 * _MIB}
"""glibc's M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD: see mallopt(3)."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles rarely, and not among what was there before; for the time a stream runs.

    A batch makes many small objects that die with it and form no cycles. By default the collector
    walks all that was ever imported every few batches to find nothing, a quarter of the time. And a
    batch's megabytes, given back to the system, are had again page by page from there: they are
    kept (where the C library is glibc; for good).

    >>> with rare_collections():
    ...     gc.get_threshold()[0]
    200000
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALIVE_OBJECTS, 10, 10)
    _keep_pages()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _keep_pages() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in _MALLOPT.items():
            mallopt(name, value)
