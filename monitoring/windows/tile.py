"""Tiles: the counts of one window of live rows, merged and subtracted exactly in any order.

Counts are integers on the fixed edges of the model's reference. Therefore partitions, hours and
days add up, and a sliding window moves on by adding the new tile and subtracting the old.
"""

from __future__ import annotations

from typing import Final

import msgspec

from claimtrace.errors import ModelError, StateError


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one closed window `[window_from_ms, window_to_ms)` under one model.

    `counts[f][b]` is the number of rows of feature f in bin b of the reference, `missing[f]` the
    number of NaN; `score_counts` and `unscored` are the same for the score. `unseen` counts rows
    with at least one unseen category, `unseen_values` all unseen categories. `late` counts rows
    that arrived after their own window had closed. `labels` and `frauds` count outcomes decided in
    the window.
    """

    schema_version: int = 1
    model: str
    window_from_ms: int
    window_to_ms: int
    n: int
    counts: list[list[int]]
    missing: list[int]
    score_counts: list[int]
    unscored: int = 0
    referred: int = 0
    unseen: int = 0
    unseen_values: int = 0
    late: int = 0
    labels: int = 0
    frauds: int = 0


_NUMBERS: Final = (
    "n",
    "unscored",
    "referred",
    "unseen",
    "unseen_values",
    "late",
    "labels",
    "frauds",
)
"""The fields of a tile that are plain counts."""


def merge(a: Tile, b: Tile) -> Tile:
    """Add two tiles; the window reaches from the earlier start to the later end.

    Raises:
        ModelError: the tiles belong to different models or bins.

    >>> one = Tile(model="demo/1", window_from_ms=0, window_to_ms=10, n=2, counts=[[1, 1]],
    ...            missing=[0], score_counts=[2, 0])
    >>> two = msgspec.structs.replace(one, window_from_ms=10, window_to_ms=20)
    >>> merge(one, two).counts, subtract(merge(one, two), two) == one
    ([[2, 2]], True)
    """
    return _combine(
        a, b, 1, min(a.window_from_ms, b.window_from_ms), max(a.window_to_ms, b.window_to_ms)
    )


def subtract(a: Tile, b: Tile) -> Tile:
    """Remove the part `b` from `a`, so that `subtract(merge(a, b), b) == a`.

    If the window of `b` is the head or tail of `a`'s, the window shrinks by it (a sliding window
    moves on); otherwise (`b` is a partition's share of the same window) the window stays.

    Raises:
        ModelError: the tiles belong to different models or bins.
        StateError: `b` isn't a part of `a`: a count would fall below zero.
    """
    start, end = a.window_from_ms, a.window_to_ms
    if b.window_from_ms == start and b.window_to_ms < end:
        start = b.window_to_ms
    elif b.window_to_ms == end and b.window_from_ms > start:
        end = b.window_from_ms
    return _combine(a, b, -1, start, end)


def _combine(a: Tile, b: Tile, sign: int, window_from_ms: int, window_to_ms: int) -> Tile:
    same_bins = [len(row) for row in a.counts] == [len(row) for row in b.counts]
    if a.model != b.model or not same_bins or len(a.score_counts) != len(b.score_counts):
        raise ModelError(
            "tiles of different models or bins can't be combined",
            where=f"{a.model}, {b.model}",
            hint="combine tiles of one model version only",
        )

    def each(ours: list[int], theirs: list[int]) -> list[int]:
        return [x + sign * y for x, y in zip(ours, theirs, strict=True)]

    numbers = {name: getattr(a, name) + sign * getattr(b, name) for name in _NUMBERS}
    counts = [each(ours, theirs) for ours, theirs in zip(a.counts, b.counts, strict=True)]
    missing, score = each(a.missing, b.missing), each(a.score_counts, b.score_counts)
    if min(*numbers.values(), *missing, *score, *(low for row in counts for low in row), 0) < 0:
        raise StateError(
            "a tile was subtracted from another that doesn't contain it",
            where=f"{a.model}, window from {b.window_from_ms} to {b.window_to_ms} ms",
            hint="subtract only tiles that were merged before",
        )
    return Tile(
        model=a.model,
        window_from_ms=window_from_ms,
        window_to_ms=window_to_ms,
        counts=counts,
        missing=missing,
        score_counts=score,
        **numbers,
    )
