"""Rate limits: a token bucket for each caller, with the time as an argument."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

MOST_CALLERS: Final = 10_000
"""Buckets that are kept; then the one that was used longest ago goes, and starts full again."""


class Rate(msgspec.Struct, frozen=True):
    """A limit: `per_s` requests a second in the long run, `burst` at once after a pause."""

    per_s: float = 100.0
    burst: int = 200


class TokenBuckets:
    """Token buckets by caller. A bucket holds up to `burst` tokens, and gains `per_s` a second.

    Time must not run backwards for a caller; if it does, the bucket gains nothing.

    >>> buckets = TokenBuckets()
    >>> slow = Rate(per_s=2, burst=1)
    >>> buckets.take("a", slow, 1, 10.0), buckets.take("a", slow, 1, 10.0)
    (0.0, 0.5)
    >>> buckets.take("a", slow, 1, 10.5)
    0.0
    """

    def __init__(self, most_callers: int = MOST_CALLERS) -> None:
        self._most = most_callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, rate: Rate, tokens: int, now_s: float) -> float:
        """Take tokens; return 0.0, or the seconds until there will be enough (none is taken then).

        Args:
            caller: the id of the key, or of the token's subject.
            rate: the caller's limit.
            tokens: 1 for a request. A request of more than `rate.burst` tokens takes a whole
                bucket: it would never be allowed otherwise.
            now_s: monotonic seconds.
        """
        wanted = min(tokens, rate.burst)
        left, since_s = self._buckets.pop(caller, (float(rate.burst), now_s))
        left = min(float(rate.burst), left + max(0.0, now_s - since_s) * rate.per_s)
        missing = wanted - left
        if missing <= 0:
            left -= wanted
        self._buckets[caller] = left, max(now_s, since_s)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return missing / rate.per_s if missing > 0 else 0.0
