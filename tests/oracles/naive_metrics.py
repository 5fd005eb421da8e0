"""The metrics again, slow and obvious: loops over rows, no weights, no cleverness."""

from __future__ import annotations

import math
from collections import defaultdict


def average_precision(labels: list[bool], scores: list[float]) -> float:
    total = sum(labels)
    if not total:
        return math.nan
    area, recall_before = 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        picked = [label for label, score in zip(labels, scores, strict=True) if score >= level]
        precision, recall = sum(picked) / len(picked), sum(picked) / total
        area += (recall - recall_before) * precision
        recall_before = recall
    return area


def auc(labels: list[bool], scores: list[float]) -> float:
    frauds = [s for s, label in zip(scores, labels, strict=True) if label]
    legit = [s for s, label in zip(scores, labels, strict=True) if not label]
    if not frauds or not legit:
        return math.nan
    won = sum((f > g) + 0.5 * (f == g) for f in frauds for g in legit)
    return won / (len(frauds) * len(legit))


def picked_at_capacity(days: list[int], scores: list[float], capacity: float) -> list[int]:
    """Rows that the capacity takes: day by day, highest first, earlier first among equals."""
    rows_of_day: dict[int, list[int]] = defaultdict(list)
    for row, day in enumerate(days):
        rows_of_day[day].append(row)
    picked: list[int] = []
    for day in range(min(days), max(days) + 1):
        gone = day - min(days)
        places = math.floor((gone + 1) * capacity + 1e-9) - math.floor(gone * capacity + 1e-9)
        ranked = sorted(rows_of_day[day], key=lambda row: (-scores[row], row))
        picked += ranked[:places]
    return sorted(picked)


def card_precision(
    labels: list[bool], scores: list[float], customers: list[int], days: list[int], k: int
) -> float:
    """As the handbook's README words it."""
    caught: set[int] = set()
    per_day = []
    for day in sorted(set(days)):
        highest: dict[int, float] = {}
        defrauded: dict[int, bool] = {}
        for label, score, customer, its_day in zip(labels, scores, customers, days, strict=True):
            if its_day == day and customer not in caught:
                highest[customer] = max(highest.get(customer, -math.inf), score)
                defrauded[customer] = defrauded.get(customer, False) or label
        top = sorted(highest, key=lambda customer: (-highest[customer], customer))[:k]
        hits = [customer for customer in top if defrauded[customer]]
        per_day.append(len(hits) / k)
        caught |= set(hits)
    return sum(per_day) / len(per_day)


def calibration_error(labels: list[bool], probabilities: list[float], bins: int) -> float:
    rows = sorted(range(len(labels)), key=lambda row: probabilities[row])
    bins = min(bins, len(rows))
    sizes = [len(rows) // bins + (part < len(rows) % bins) for part in range(bins)]
    error, start = 0.0, 0
    for size in sizes:
        part = rows[start : start + size]
        said = sum(probabilities[row] for row in part) / size
        was = sum(labels[row] for row in part) / size
        error += size / len(rows) * abs(said - was)
        start += size
    return error
