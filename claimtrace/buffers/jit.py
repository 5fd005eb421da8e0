"""The decorator for compiled functions that allocate no arrays.

numba counts references to arrays as Python does: whenever a function is called with an array or
takes one out of a tuple, however small the function is. Code that allocates no arrays doesn't need
that, and `_nrt` is numba's own switch for it, though not a documented one (measured: without the
counting the windows' kernels take two thirds of the time). A kernel that allocates an array doesn't
compile; pass it an array to work in, or use `njit(cache=True)`.
"""

from __future__ import annotations

from typing import Any, Final

from numba import njit

kernel: Final[Any] = njit(cache=True, _nrt=False)
