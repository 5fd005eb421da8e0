"""Byte strings that lie here and there, copied behind each other."""

from __future__ import annotations

import numpy as np

from .kernel import kernel


@kernel
def gather(content, starts, bounds, out):  # type: ignore[no-untyped-def]
    """Copy each from `content`, where it starts, to its bounds in `out`."""
    for row in range(starts.size):
        begin, at = np.uint64(starts[row]), np.uint64(bounds[row])
        for i in range(np.uint64(bounds[row + 1]) - at):
            out[at + i] = content[begin + i]
