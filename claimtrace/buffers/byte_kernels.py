"""Bytes in kernels: eight read at once, and strings from here and there put in a row."""

from __future__ import annotations

import numpy as np
from numba import njit

from .jit import kernel


@njit(cache=True, inline="always")
def eight_bytes(buffer, at):  # type: ignore[no-untyped-def]
    """Eight bytes as one number; the compiler makes one load of it."""
    word = np.uint64(0)
    for j in range(8):
        word |= np.uint64(buffer[at + np.uint64(j)]) << np.uint64(8 * j)
    return word


@kernel
def gather(content, starts, bounds, out):  # type: ignore[no-untyped-def]
    """Copy each from `content`, where it starts, to its bounds in `out`."""
    for row in range(starts.size):
        begin, at = np.uint64(starts[row]), np.uint64(bounds[row])
        for i in range(np.uint64(bounds[row + 1]) - at):
            out[at + i] = content[begin + i]
