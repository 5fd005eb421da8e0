"""Counting of live rows on the reference's bins, one tile for each tumbling window of event time.

Windows close by the order of rows, not of calls (`watermark`): the same rows give the same tiles,
wherever batches are cut. A row for a closed window isn't counted in that window; it adds to `late`
of the next tile that closes.

Outcomes are counted by the time at which the label was decided, not by the time of its claim:
labels arrive weeks after the claim's window has closed. Outcomes have their own watermark and tiles
(with `n == 0`), so that the order in which a batch hands over claims and labels doesn't matter.
Outcomes by age of the claim need the offline store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.errors import ConfigError, ModelError, StateError
from claimtrace.ids import digest_of

from .reference import Reference
from .tile import Tile, merge, subtract
from .watermark import Watermark

__all__ = ["MAX_OPEN_WINDOWS", "Tile", "TileBook", "merge", "subtract"]

MAX_OPEN_WINDOWS: Final = 64
"""Most windows open for late rows. Each takes 16 kB for 64 features; 64 are two months of days."""

_WIDTH: Final = 32
"""Columns of the count table: a power of two, for a binary search with five comparisons."""

_MISSING: Final = _WIDTH - 1
"""The column that counts NaN, beyond any bin (a reference has at most 20)."""

_TOTALS: Final = 4
"""Totals of a window: rows, referred rows, rows with an unseen category, unseen categories."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class TileBook:
    """Counts of rows in open windows; each window's tile is handed out once, when it closes.

    Args:
        reference: the model's reference, whose edges separate the bins.
        model_label: name of the model on every tile, such as `auto_claims/3`.
        window_ms: width of a window; windows start at multiples of it since 1970 UTC.
        lateness_ms: how long after its end a window waits for late rows. Limited to the time that
            `MAX_OPEN_WINDOWS` windows cover; beyond that the oldest windows are closed, and rows
            for them are late.

    Raises:
        ConfigError: the window or the lateness is out of range.

    >>> from .reference import build_reference
    >>> flags = np.array([False, True])
    >>> reference = build_reference(["x"], np.array([[1.0], [2.0]]), np.array([0.1, 0.9]), flags)
    >>> book = TileBook(reference, "demo/1", window_ms=10, lateness_ms=5)
    >>> book.add(np.array([3, 25]), np.array([[1.5], [9.0]]), np.array([0.2, 0.3]),
    ...          np.array([False, False]), np.array([0, 0]))
    >>> [(tile.window_from_ms, tile.n, tile.counts[0]) for tile in book.close()]
    [(0, 1, [0, 0, 1, 0])]
    """

    def __init__(
        self, reference: Reference, model_label: str, window_ms: int, lateness_ms: int
    ) -> None:
        if window_ms < 1 or lateness_ms < 0:
            raise ConfigError(
                f"a drift window of {window_ms} ms that waits {lateness_ms} ms",
                where="drift.window, drift.lateness",
                hint="the window must be at least 1 ms, the lateness at least 0",
            )
        self._reference = reference
        self.model_label = model_label
        self.window_ms = window_ms
        self.lateness_ms = min(lateness_ms, (MAX_OPEN_WINDOWS - 2) * window_ms)
        histograms = [*reference.features, reference.score]
        self._bins = [len(histogram.counts) for histogram in histograms]
        self._edges = np.full((len(histograms), _WIDTH), np.inf)
        for row, histogram in zip(self._edges, histograms, strict=True):
            row[: len(histogram.edges)] = histogram.edges
        self._features = len(reference.features)
        self._claims = Watermark(window_ms, self.lateness_ms)
        self._outcomes = Watermark(window_ms, self.lateness_ms)
        # Open windows are neighbours, so a window's row in these tables is its number modulo slots.
        slots = self._claims.slots
        self._counts = np.zeros((slots, len(histograms), _WIDTH), dtype=np.int64)
        self._totals = np.zeros((slots, _TOTALS), dtype=np.int64)
        self._labels = np.zeros((slots, 2), dtype=np.int64)
        self._late = np.zeros(2, dtype=np.int64)  # of claims, of outcomes
        self._sealed: list[Tile] = []
        self._counted: dict[int, tuple[int, int]] = {}
        """The window and the fraud of the label that is counted for a claim, in open windows."""

    @property
    def watermark(self) -> int | None:
        """The greatest event time of a claim so far, in ms; None before the first."""
        return self._claims.watermark_ms

    def add(
        self,
        event_times_ms: Counts,
        matrix: Floats,
        scores: Floats,
        referred: NDArray[np.bool_],
        unseen: Counts,
    ) -> None:
        """Count n rows, in the order of the log.

        Args:
            event_times_ms: int64[n].
            matrix: float64[n, F] in the reference's order, NaN where missing.
            scores: float64[n], calibrated probabilities, NaN for rows without a score.
            referred: bool[n].
            unseen: int64[n], number of the row's categories that training never saw.

        Raises:
            ModelError: the matrix has other features than the reference, or lengths differ.
        """
        times = np.ascontiguousarray(event_times_ms, dtype=np.int64)
        n = len(times)
        if (
            matrix.shape != (n, self._features)
            or len({n, *map(len, (scores, referred, unseen))}) > 1
        ):
            raise ModelError(
                f"{n} rows with a matrix of {matrix.shape} and {self._features} features known",
                where=self.model_label,
                hint="the drift reference belongs to other definitions; train and publish again",
            )
        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        scored = np.ascontiguousarray(scores, dtype=np.float64)
        flags = np.ascontiguousarray(referred, dtype=np.bool_)
        unknown = np.ascontiguousarray(unseen, dtype=np.int64)
        # Windows are closed between rows, exactly where the watermark passes their end.
        for start, end, first in self._claims.runs(times):
            self._seal_claims(self._claims.close_below(first))
            part = slice(start, end)
            self._late[0] += _count(
                times[part], rows[part], scored[part], flags[part], unknown[part], self.window_ms,
                first, self._edges, self._counts, self._totals,
            )  # fmt: skip

    def add_outcomes(
        self,
        event_times_ms: Counts,
        fraud: NDArray[np.bool_],
        claims: Counts | None = None,
        retracted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count n matured labels by the time at which they were decided.

        A label takes the place of the label counted before it for the same claim, if the window of
        that one is still open.

        Args:
            event_times_ms: int64[n], decision times of the outcomes.
            fraud: bool[n].
            claims: int64[n], a number of the claim, or -1: the label takes no other's place. None:
                all of them are -1.
            retracted: bool[n], the label only takes back the one before it. None: all False.
        """
        times = np.ascontiguousarray(event_times_ms, dtype=np.int64)
        found = np.ascontiguousarray(fraud, dtype=np.int64)
        replacing = claims is not None and claims.size and claims.max() >= 0
        for start, end, first in self._outcomes.runs(times):
            self._seal_outcomes(self._outcomes.close_below(first))
            part = slice(start, end)
            windows = times[part] // self.window_ms
            if replacing and claims is not None:
                none = np.zeros(end - start, np.bool_) if retracted is None else retracted[part]
                self._replace_outcomes(windows, found[part], claims[part], none, first)
                continue
            timely = windows >= first
            slots = windows[timely] % len(self._labels)
            np.add.at(self._labels[:, 0], slots, 1)
            np.add.at(self._labels[:, 1], slots, found[part][timely])
            self._late[1] += np.count_nonzero(~timely)

    def _replace_outcomes(
        self,
        windows: Counts,
        fraud: Counts,
        claims: Counts,
        retracted: NDArray[np.bool_],
        first: int,
    ) -> None:
        """Count labels one by one, each in place of the one before it for the same claim."""
        counted, late, slots = self._counted, 0, len(self._labels)
        changes = np.zeros_like(self._labels).tolist()  # numbers of Python's own: numpy's are slow
        rows = zip(
            windows.tolist(), fraud.tolist(), claims.tolist(), retracted.tolist(), strict=True
        )
        for window, is_fraud, claim, only_takes_back in rows:
            window_before, fraud_before = counted.pop(claim, (first - 1, 0))
            if window_before >= first:
                changed = changes[window_before % slots]
                changed[0] -= 1
                changed[1] -= fraud_before
            if only_takes_back:
                continue
            if window < first:
                late += 1
                continue
            changed = changes[window % slots]
            changed[0] += 1
            changed[1] += is_fraud
            if claim >= 0:
                counted[claim] = window, is_fraud
        self._labels += np.array(changes, self._labels.dtype)
        self._late[1] += late

    def close(self) -> list[Tile]:
        """Hand out the tiles closed since the last call, each exactly once.

        Tiles of claims are in the order of time among themselves, and so are tiles of outcomes.
        """
        tiles, self._sealed = self._sealed, []
        return tiles

    def flush(self) -> list[Tile]:
        """Close every open window now, as at a change of model; later rows for them are late."""
        self._seal_claims(self._claims.close_all())
        self._seal_outcomes(self._outcomes.close_all())
        return self.close()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state as plain arrays, for a snapshot; copies, not views."""
        sealed = msgspec.json.encode(self._sealed)
        clocks = [self._claims.state(), self._outcomes.state()]
        counted = sorted((claim, *each) for claim, each in self._counted.items())
        return {
            **({"counted": np.array(counted, np.int64)} if counted else {}),
            "clocks": np.array(clocks, dtype=np.int64),
            "late": self._late.copy(),
            "counts": self._counts.copy(),
            "totals": self._totals.copy(),
            "labels": self._labels.copy(),
            "sealed": np.frombuffer(sealed, dtype=np.uint8).copy(),
            "identity": np.frombuffer(self._identity(), dtype=np.uint8).copy(),
        }

    @classmethod
    def restore(
        cls,
        reference: Reference,
        model_label: str,
        window_ms: int,
        lateness_ms: int,
        arrays: Mapping[str, NDArray[Any]],
    ) -> TileBook:
        """Restore a book from the result of `arrays()`.

        Raises:
            StateError: the arrays belong to another model, reference, window or lateness.
        """
        book = cls(reference, model_label, window_ms, lateness_ms)
        if np.asarray(arrays["identity"], dtype=np.uint8).tobytes() != book._identity():
            raise StateError(
                "the drift counts belong to another model, reference or window",
                where=model_label,
                hint="start a new book, or restore with the model and settings of the snapshot",
            )
        for mark, state in zip((book._claims, book._outcomes), arrays["clocks"], strict=True):
            mark.restore(int(state[0]), int(state[1]))
        book._late[:] = arrays["late"]
        book._counts[:] = arrays["counts"]
        book._totals[:] = arrays["totals"]
        book._labels[:] = arrays["labels"]
        for claim, window, fraud in arrays.get("counted", np.empty((0, 3), np.int64)).tolist():
            book._counted[claim] = window, fraud
        sealed = np.asarray(arrays["sealed"], dtype=np.uint8).tobytes()
        book._sealed = msgspec.json.decode(sealed, type=list[Tile])
        return book

    def _identity(self) -> bytes:
        """Return a digest of everything that the meaning of the counts depends on."""
        settings = [self.model_label, self.window_ms, self.lateness_ms]
        return bytes.fromhex(digest_of([*settings, self._reference]))

    def _seal_claims(self, windows: range) -> None:
        for window in windows:
            slot = window % len(self._counts)
            if self._totals[slot, 0]:
                n, referred, unseen, unseen_values = self._totals[slot].tolist()
                *counts, score = self._trimmed(self._counts[slot])
                *missing, unscored = self._counts[slot, :, _MISSING].tolist()
                self._seal(
                    window,
                    n=n,
                    counts=counts,
                    missing=missing,
                    score_counts=score,
                    unscored=unscored,
                    referred=referred,
                    unseen=unseen,
                    unseen_values=unseen_values,
                    late=self._take_late(0),
                )
                self._counts[slot] = 0
                self._totals[slot] = 0

    def _seal_outcomes(self, windows: range) -> None:
        for window in windows:
            slot = window % len(self._labels)
            if self._labels[slot, 0]:
                labels, frauds = self._labels[slot].tolist()
                *counts, score = self._trimmed(np.zeros_like(self._counts[0]))
                self._seal(
                    window,
                    n=0,
                    counts=counts,
                    missing=[0] * len(counts),
                    score_counts=score,
                    labels=labels,
                    frauds=frauds,
                    late=self._take_late(1),
                )
                self._labels[slot] = 0
        if windows and self._counted:
            self._counted = {
                claim: each for claim, each in self._counted.items() if each[0] not in windows
            }

    def _seal(self, window: int, **fields: Any) -> None:
        start = window * self.window_ms
        self._sealed.append(
            Tile(
                model=self.model_label,
                window_from_ms=start,
                window_to_ms=start + self.window_ms,
                **fields,
            )
        )

    def _trimmed(self, table: Counts) -> list[list[int]]:
        """Return the counts of each histogram's own bins, without the columns beyond them."""
        return [row[:bins].tolist() for row, bins in zip(table, self._bins, strict=True)]

    def _take_late(self, kind: int) -> int:
        """Return and reset the number of late claims (0) or late outcomes (1)."""
        late, self._late[kind] = int(self._late[kind]), 0
        return late


@kernel
def _count(
    times_ms: Counts,
    matrix: Floats,
    scores: Floats,
    referred: NDArray[np.bool_],
    unseen: Counts,
    window_ms: int,
    first: int,
    edges: Floats,
    counts: Counts,
    totals: Counts,
) -> int:
    """Count rows in the windows from `first` on; returns the number of late rows."""
    slots, features = counts.shape[0], matrix.shape[1]
    late = 0
    for i in range(len(times_ms)):
        window = times_ms[i] // window_ms
        if window < first:
            late += 1
            continue
        slot = window % slots
        totals[slot, 0] += 1
        totals[slot, 1] += referred[i]
        totals[slot, 2] += unseen[i] > 0
        totals[slot, 3] += unseen[i]
        for f in range(features):
            counts[slot, f, _bin_of(edges, f, matrix[i, f])] += 1
        counts[slot, features, _bin_of(edges, features, scores[i])] += 1
    return late


@njit(cache=True, inline="always")
def _bin_of(edges: Floats, f: int, value: float) -> np.int64:
    """Return the bin of a value: the number of edges below it, or `_MISSING` for NaN.

    Rows of edges are padded with infinity. Comparisons are summed instead of branched on, because
    a processor can't predict such branches: 7 times faster.
    """
    below = np.int64(0)
    below += 16 * (edges[f, 15] < value)
    below += 8 * (edges[f, below + 7] < value)
    below += 4 * (edges[f, below + 3] < value)
    below += 2 * (edges[f, below + 1] < value)
    below += edges[f, below] < value
    return below if value == value else np.int64(_MISSING)
