"""How long a caller wants to wait for a decision: the header `Prefer: wait=S` of RFC 7240."""

from __future__ import annotations

import re
from typing import Final

USUAL_WAIT_S: Final = 2.0
MOST_WAIT_S: Final = 30.0
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6}(?:\.\d{1,3})?)\"?\s*(?=$|[,;])")


def wait_of(prefer: str | None) -> float:
    """Return the seconds to wait; what can't be read is no preference, as the RFC says.

    >>> wait_of(None), wait_of("wait=5"), wait_of("respond-async, wait=0.2"), wait_of("wait=900")
    (2.0, 5.0, 0.2, 30.0)
    >>> wait_of("respond-async"), wait_of("wait=soon")
    (0.0, 2.0)
    """
    if not prefer:
        return USUAL_WAIT_S
    found = _WAIT.search(prefer.lower())
    if found is not None:
        return min(float(found[1]), MOST_WAIT_S)
    return 0.0 if "respond-async" in prefer.lower() else USUAL_WAIT_S
