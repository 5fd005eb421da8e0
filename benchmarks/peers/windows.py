"""Exact windows in plain Python: deques and running sums.

The module has every aggregate of the canonical workload, over `(t - width, t]` on event time, in
whole cents, without the current claim. The cost of an update doesn't depend on the number of claims
in the window.

The windows do less than those of the engine: claims must come in the order of their event time (as
the canonical ones do), no state is saved, and entities that never come again stay in memory.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

NAN: Final = math.nan
DAY_MS: Final = 86_400_000


class Times:
    """The times of an entity's claims.

    >>> window = Times(10)
    >>> for time_ms in (1, 5, 11):
    ...     window.add(time_ms)
    >>> window.count(11), window.count(15)
    (2, 1)
    """

    __slots__ = ("times", "width_ms")

    def __init__(self, width_ms: int) -> None:
        self.width_ms = width_ms
        self.times: deque[int] = deque()

    def add(self, time_ms: int) -> None:
        """Add a claim at this time."""
        self.times.append(time_ms)

    def count(self, now_ms: int) -> int:
        """Count the claims in the window, and drop those before it."""
        times, from_ms = self.times, now_ms - self.width_ms
        while times and times[0] <= from_ms:
            times.popleft()
        return len(times)


class Amounts:
    """Times and amounts: count, sum, mean, time of the last claim.

    >>> window = Amounts(10)
    >>> window.add(1, 300); window.add(5, 100)
    >>> window.forget(11); window.total, window.mean, window.last_ms
    (100, 100.0, 5)
    """

    __slots__ = ("entries", "total", "width_ms")

    def __init__(self, width_ms: int) -> None:
        self.width_ms = width_ms
        self.entries: deque[tuple[int, int, str]] = deque()
        self.total = 0

    def add(self, time_ms: int, cents: int, policy: str = "") -> None:
        """Add a claim at this time, of this amount, on this policy."""
        self.entries.append((time_ms, cents, policy))
        self.total += cents

    def forget(self, now_ms: int) -> None:
        """Drop entries before the window."""
        entries, from_ms = self.entries, now_ms - self.width_ms
        while entries and entries[0][0] <= from_ms:
            self.total -= entries.popleft()[1]

    @property
    def mean(self) -> float:
        """The mean amount; missing in an empty window."""
        return self.total / len(self.entries) if self.entries else NAN

    @property
    def last_ms(self) -> float:
        """The time of the last claim; missing in an empty window."""
        return self.entries[-1][0] if self.entries else NAN


class Policies(Amounts):
    """Times and amounts, with the number of different policies.

    >>> window = Policies(10)
    >>> window.add(1, 300, "a"); window.add(5, 100, "b"); window.add(6, 100, "b")
    >>> window.forget(9); len(window.claims)
    2
    >>> window.forget(15); len(window.claims)
    1
    """

    __slots__ = ("claims",)

    def __init__(self, width_ms: int) -> None:
        super().__init__(width_ms)
        self.claims: dict[str, int] = {}

    def add(self, time_ms: int, cents: int, policy: str = "") -> None:
        """Add a claim at this time, of this amount, on this policy."""
        self.entries.append((time_ms, cents, policy))
        self.total += cents
        self.claims[policy] = self.claims.get(policy, 0) + 1

    def forget(self, now_ms: int) -> None:
        """Drop entries before the window."""
        entries, claims, from_ms = self.entries, self.claims, now_ms - self.width_ms
        while entries and entries[0][0] <= from_ms:
            _, cents, policy = entries.popleft()
            self.total -= cents
            if claims[policy] == 1:
                del claims[policy]
            else:
                claims[policy] -= 1


class Spread(Amounts):
    """Times and amounts, with the standard deviation, from exact integers, and the maximum.

    >>> window = Spread(10)
    >>> window.add(1, 300); window.add(5, 100); window.add(6, 200)
    >>> window.forget(9); window.std, window.largest
    (100.0, 300)
    >>> window.forget(15); window.std, window.largest
    (nan, 200)
    """

    __slots__ = ("peaks", "squares")

    def __init__(self, width_ms: int) -> None:
        super().__init__(width_ms)
        self.squares = 0
        self.peaks: deque[tuple[int, int]] = deque()  # amounts that fall from left to right

    def add(self, time_ms: int, cents: int, policy: str = "") -> None:
        """Add a claim at this time, of this amount."""
        self.entries.append((time_ms, cents, policy))
        self.total += cents
        self.squares += cents * cents
        peaks = self.peaks
        while peaks and peaks[-1][1] <= cents:
            peaks.pop()
        peaks.append((time_ms, cents))

    def forget(self, now_ms: int) -> None:
        """Drop entries before the window."""
        entries, peaks, from_ms = self.entries, self.peaks, now_ms - self.width_ms
        while entries and entries[0][0] <= from_ms:
            cents = entries.popleft()[1]
            self.total -= cents
            self.squares -= cents * cents
        while peaks and peaks[0][0] <= from_ms:
            peaks.popleft()

    @property
    def std(self) -> float:
        """The sample standard deviation; missing below two amounts."""
        n = len(self.entries)
        exact = n * self.squares - self.total * self.total
        return math.sqrt(float(exact) / float(n * (n - 1))) if n > 1 else NAN

    @property
    def largest(self) -> float:
        """The largest amount; missing in an empty window."""
        return self.peaks[0][1] if self.peaks else NAN


class Verdicts:
    """Labels of an entity's claims, by the time when they became known.

    >>> window = Verdicts(10)
    >>> window.add(1, True); window.add(5, False)
    >>> window.forget(9); window.frauds, window.rate
    (1, 0.5)
    """

    __slots__ = ("frauds", "known", "width_ms")

    def __init__(self, width_ms: int) -> None:
        self.width_ms = width_ms
        self.known: deque[tuple[int, bool]] = deque()
        self.frauds = 0

    def add(self, known_ms: int, fraud: bool) -> None:
        """Add a label that arrived at this time."""
        self.known.append((known_ms, fraud))
        self.frauds += fraud

    def forget(self, now_ms: int) -> None:
        """Drop entries before the window."""
        known, from_ms = self.known, now_ms - self.width_ms
        while known and known[0][0] <= from_ms:
            self.frauds -= known.popleft()[1]

    @property
    def rate(self) -> float:
        """The share of frauds; missing in an empty window."""
        return self.frauds / len(self.known) if self.known else NAN
