"""Counting of champion and canary on the same claims, in windows of event time without lateness.

A window closes when a claim of a later one arrives, so one window is open at a time. A claim for a
closed window isn't counted. Windows close by the order of rows, not of calls: the same rows give
the same tiles, wherever batches are cut. Windows with few claims are passed over without a step of
Python for each, because where claims are rare nearly every claim closes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..windows.reference import Reference, bin_counts
from ..windows.tile import Tile

_NEVER: Final = -(2**62)
"""The watermark before the first claim."""
_CLAIMS, _UNSEEN, _UNSEEN_VALUES, _REFERRED, _UNSCORED = range(5)
"""Columns of the counts of the open window, for each model; the bins of its scores follow."""
_PLAIN: Final = 5


class Scores(NamedTuple):
    """The scores of one model, float64[n] with NaN for none, and bool[n] which it refers."""

    scores: NDArray[np.float64]
    referred: NDArray[np.bool_]


class PairBook:
    """Counts of the open window; each window with enough claims is handed out once, as tiles.

    Args:
        labels, references: of both models, the champion first.
        window_ms: width of a window; windows start at multiples of it since 1970 UTC.
        min_count: windows with fewer claims are not handed out.
    """

    def __init__(
        self,
        labels: Sequence[str],
        references: Sequence[Reference],
        window_ms: int,
        min_count: int,
    ) -> None:
        self._labels, self._references = list(labels), list(references)
        self._window_ms, self._min_count = window_ms, min_count
        self._watermark = _NEVER
        self._counts = [
            np.zeros(_PLAIN + len(each.score.counts), np.int64) for each in self._references
        ]

    def add(
        self, times_ms: NDArray[np.int64], both: Sequence[Scores], unseen: NDArray[np.int64]
    ) -> list[tuple[Tile, Tile]]:
        """Count claims in log order; returns the tiles of both models for windows that closed.

        Args:
            times_ms: int64[n], the claims' event times.
            both: the results of both models.
            unseen: int64[n], how many categories of each claim are unknown.
        """
        if not len(times_ms):
            return []
        before = self._watermark // self._window_ms
        running = np.maximum(np.maximum.accumulate(times_ms), self._watermark)
        self._watermark = int(running[-1])
        windows = running // self._window_ms
        # the open window at a row is that of the greatest time so far
        rows = np.flatnonzero(times_ms // self._window_ms == windows)
        found, starts = np.unique(windows[rows], return_index=True)
        sizes = np.diff(np.append(starts, len(rows)))
        last = self._watermark // self._window_ms
        is_first = found == before
        closed: list[tuple[Tile, Tile]] = []
        if before < last and not is_first.any():
            closed += self._close(before)
        # only these are looked at: the open one, the last one, and those with enough claims
        for i in np.flatnonzero((sizes >= self._min_count) | is_first | (found == last)).tolist():
            window = int(found[i])
            self._count(rows[starts[i] : starts[i] + sizes[i]], both, unseen)
            if window < last:
                closed += self._close(window)
        return closed

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state as plain arrays, for a snapshot."""
        champion, canary = self._counts
        return {
            "watermark": np.array([self._watermark], np.int64),
            "champion": champion.copy(),
            "canary": canary.copy(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace all state by that of `arrays`."""
        self._watermark = int(arrays["watermark"][0])
        self._counts = [arrays[name].astype(np.int64) for name in ("champion", "canary")]

    def _count(
        self, rows: NDArray[np.int64], both: Sequence[Scores], unseen: NDArray[np.int64]
    ) -> None:
        for counts, reference, model in zip(self._counts, self._references, both, strict=True):
            scores = model.scores[rows]
            counts[_CLAIMS] += len(rows)
            counts[_UNSEEN] += np.count_nonzero(unseen[rows])
            counts[_UNSEEN_VALUES] += unseen[rows].sum()
            counts[_REFERRED] += np.count_nonzero(model.referred[rows])
            counts[_UNSCORED] += np.count_nonzero(np.isnan(scores))
            counts[_PLAIN:] += bin_counts(scores, reference.score.edges)

    def _close(self, window: int) -> list[tuple[Tile, Tile]]:
        """Return the tiles of the open window if it has enough claims, and begin another one."""
        champion, canary = (
            Tile(
                model=label,
                window_from_ms=window * self._window_ms,
                window_to_ms=(window + 1) * self._window_ms,
                n=int(counts[_CLAIMS]),
                counts=[],
                missing=[],
                score_counts=counts[_PLAIN:].tolist(),
                unscored=int(counts[_UNSCORED]),
                referred=int(counts[_REFERRED]),
                unseen=int(counts[_UNSEEN]),
                unseen_values=int(counts[_UNSEEN_VALUES]),
            )
            for label, counts in zip(self._labels, self._counts, strict=True)
        )
        for counts in self._counts:
            counts[:] = 0
        return [(champion, canary)] if champion.n >= self._min_count else []
