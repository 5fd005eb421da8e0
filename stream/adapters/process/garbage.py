"""Settings of Python's cycle collector, and of the allocator below it, for a running stream."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ALIVE_OBJECTS: Final = 200_000
"""A batch of 2,000 has fewer objects at any time, so a collection starts between batches if at
all."""

_MIB: Final = 1 << 20
_MALLOPT: Final = {-1: 1024 * _MIB, -2: 32 * _MIB, -3: 32 * _MIB}
"""glibc's M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD: see mallopt(3)."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect cycles rarely, and not among earlier objects, for the body of the `with` statement.

    A batch makes many small objects that die with it and form no cycles. By default the collector
    walks everything that was ever imported every few batches and finds nothing: a quarter of the
    time. And memory of a batch that is returned to the system must be mapped again page by page for
    the next one: so it is kept (only where the C library is glibc, and until the process ends).

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
    """Set glibc's thresholds so high that freed memory stays with the process."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in _MALLOPT.items():
            mallopt(name, value)
