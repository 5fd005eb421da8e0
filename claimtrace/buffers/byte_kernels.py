"""Kernels over bytes: read eight at once, and gather scattered strings into one buffer."""

from __future__ import annotations

import numpy as np
from numba import njit

from .jit import kernel


@njit(cache=True, inline="always")
def eight_bytes(buffer, at):  # type: ignore[no-untyped-def]
    """Return eight bytes as one little-endian number; the compiler emits a single load."""
    word = np.uint64(0)
    for j in range(8):
        word |= np.uint64(buffer[at + np.uint64(j)]) << np.uint64(8 * j)
    return word


@kernel
def gather(content, starts, bounds, out):  # type: ignore[no-untyped-def]
    """Copy row i from `content[starts[i]:]` to `out[bounds[i]:bounds[i + 1]]`."""
    for row in range(starts.size):
        begin, at = np.uint64(starts[row]), np.uint64(bounds[row])
        for i in range(np.uint64(bounds[row + 1]) - at):
            out[at + i] = content[begin + i]
