"""Python's cycle collector, told how a stream behaves."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ALIVE_OBJECTS: Final = 200_000
"""A batch of 2,000 has fewer at any time, so a collection begins between batches if at all."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles rarely, and not among what was there before; for the time a stream runs.

    A batch makes many small objects that die with it and form no cycles. By default the collector
    walks all that was ever imported every few batches to find nothing, a quarter of the time.

    >>> with rare_collections():
    ...     gc.get_threshold()[0]
    200000
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALIVE_OBJECTS, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
