"""Slow, obvious drift arithmetic: one row at a time, one bin at a time, plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any


def naive_bin(edges: Sequence[float], value: float) -> int:
    """The first bin whose upper edge isn't below the value."""
    for place, edge in enumerate(edges):
        if value <= edge:
            return place
    return len(edges)


def naive_tiles(
    rows: Iterable[tuple[int, Sequence[float], float, bool, int]],
    feature_edges: Sequence[Sequence[float]],
    score_edges: Sequence[float],
    window_ms: int,
    lateness_ms: int,
) -> list[dict[str, Any]]:
    """Tiles as they close, of claims row by row: (time, values, score, referred, unseen)."""
    watermark = None
    late = 0
    open_windows: dict[int, dict[str, Any]] = {}
    closed: list[dict[str, Any]] = []
    for time, values, score, referred, unseen in rows:
        watermark = time if watermark is None else max(watermark, time)
        for start in sorted(open_windows):
            if start + window_ms + lateness_ms <= watermark:
                closed.append({**open_windows.pop(start), "late": late})
                late = 0
        start = time - time % window_ms
        if start + window_ms + lateness_ms <= watermark:
            late += 1
            continue
        tile = open_windows.setdefault(
            start,
            {
                "window_from_ms": start,
                "n": 0,
                "counts": [[0] * (len(edges) + 1) for edges in feature_edges],
                "missing": [0] * len(feature_edges),
                "score_counts": [0] * (len(score_edges) + 1),
                "unscored": 0,
                "referred": 0,
                "unseen": 0,
                "unseen_values": 0,
            },
        )
        tile["n"] += 1
        tile["referred"] += bool(referred)
        tile["unseen"] += unseen > 0
        tile["unseen_values"] += unseen
        for f, value in enumerate(values):
            if math.isnan(value):
                tile["missing"][f] += 1
            else:
                tile["counts"][f][naive_bin(feature_edges[f], value)] += 1
        if math.isnan(score):
            tile["unscored"] += 1
        else:
            tile["score_counts"][naive_bin(score_edges, score)] += 1
    return closed


def naive_outcome_tiles(
    rows: Iterable[tuple[int, bool]], window_ms: int, lateness_ms: int
) -> list[tuple[int, int, int, int]]:
    """Outcomes row by row: (window start, labels, frauds, late) in the order they close."""
    watermark = None
    late = 0
    open_windows: dict[int, list[int]] = {}
    closed = []
    for time, fraud in rows:
        watermark = time if watermark is None else max(watermark, time)
        for start in sorted(open_windows):
            if start + window_ms + lateness_ms <= watermark:
                labels, frauds = open_windows.pop(start)
                closed.append((start, labels, frauds, late))
                late = 0
        start = time - time % window_ms
        if start + window_ms + lateness_ms <= watermark:
            late += 1
            continue
        counts = open_windows.setdefault(start, [0, 0])
        counts[0] += 1
        counts[1] += bool(fraud)
    return closed


def naive_verdict_tiles(
    rows: Iterable[tuple[int, bool, int, bool]], window_ms: int, lateness_ms: int
) -> list[tuple[int, int, int, int]]:
    """The same for (time, fraud, claim, retracted): one label a claim, the last one counted."""
    watermark = None
    late = 0
    open_windows: dict[int, dict[int, bool]] = {}
    closed = []
    for time, fraud, claim, retracted in rows:
        watermark = time if watermark is None else max(watermark, time)
        for start in sorted(open_windows):
            if start + window_ms + lateness_ms <= watermark:
                counted = open_windows.pop(start)
                if counted:
                    closed.append((start, len(counted), sum(counted.values()), late))
                    late = 0
        for counted in open_windows.values():
            counted.pop(claim, None)
        start = time - time % window_ms
        if retracted:
            continue
        if start + window_ms + lateness_ms <= watermark:
            late += 1
            continue
        open_windows.setdefault(start, {})[claim] = fraud
    return closed


def naive_pool(
    ref: Sequence[int], live: Sequence[int], needed_rows: float = 5.0
) -> list[tuple[int, int]]:
    """Neighbouring bins joined until the smaller side expects enough rows in each."""
    m, n = sum(ref), sum(live)
    groups: list[tuple[int, int]] = []
    held = (0, 0)
    for r, c in zip(ref, live, strict=True):
        held = (held[0] + r, held[1] + c)
        if min(m, n) * sum(held) / (m + n) >= needed_rows - 1e-9:
            groups.append(held)
            held = (0, 0)
    last = groups.pop() if groups else (0, 0)
    return [*groups, (last[0] + held[0], last[1] + held[1])]


def naive_psi(ref: Sequence[int], live: Sequence[int]) -> float:
    """Population stability index on pooled bins, half a row added to each."""
    if not sum(ref) or not sum(live):
        return 0.0
    groups = naive_pool(ref, live)
    m = sum(r for r, _ in groups) + 0.5 * len(groups)
    n = sum(c for _, c in groups) + 0.5 * len(groups)
    total = 0.0
    for r, c in groups:
        q, p = (r + 0.5) / m, (c + 0.5) / n
        total += (p - q) * math.log(p / q)
    return total


def naive_ks(ref: Sequence[int], live: Sequence[int]) -> float:
    """The greatest gap between cumulative shares."""
    gaps = [abs(sum(ref[:k]) / sum(ref) - sum(live[:k]) / sum(live)) for k in range(len(ref) + 1)]
    return max(gaps)


def naive_higher(ref: Sequence[int], live: Sequence[int]) -> float:
    """Share of all pairs in which the live row lies in a higher bin, ties half."""
    wins = 0.0
    for i, r in enumerate(ref):
        for j, c in enumerate(live):
            wins += r * c * (1.0 if j > i else 0.5 if j == i else 0.0)
    return wins / (sum(ref) * sum(live))
