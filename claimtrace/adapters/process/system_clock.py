"""The machine's own clock; the stream reads it only through this class."""

from __future__ import annotations

import time


class SystemClock:
    """Wall and monotonic time of this machine."""

    def now_ms(self) -> int:
        """Return the wall time in ms since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
