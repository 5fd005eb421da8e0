"""How functions that only work on arrays they are given are compiled.

numba counts references to arrays as Python does: whenever a function is called with them or takes
one out of a tuple, however small it is. Code that makes no arrays has no use for that, and `_nrt`
is numba's own switch for it, though not a documented one (measured: the windows' kernels take two
thirds of the time). A kernel that makes an array doesn't compile; give it one to work in, or use
`njit(cache=True)`.
"""

from __future__ import annotations

from typing import Any, Final

from numba import njit

kernel: Final[Any] = njit(cache=True, _nrt=False)
