"""Which rows each feature counted, and the value that they give.

This is the definition of every aggregate, written once more over lists: it has nothing in common
with the engine's kernels, so its agreement with the served value says that these are the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from claimtrace.clock import DAY_MS
from featurestore.definitions.features import Group, WindowFeature
from featurestore.definitions.verdicts import FRAUD

from .evidence import CountedRow
from .history import Past, PastClaim, number_of, row_of_claim
from .index import EvidenceIndex
from .record_columns import NO_KEY, rules_of, slots_of


class Counted(NamedTuple):
    """Rows, newest first, the value that they give (NaN: missing), and why there are none."""

    rows: list[CountedRow]
    value: float
    note: str = ""


class Counter:
    """Counts for one claim.

    Args:
        index: the index.
        past: what had arrived before the claim.
        claim: the claim itself.
        edition: the edition in force when it was decided.
    """

    def __init__(self, index: EvidenceIndex, past: Past, claim: PastClaim, edition: int) -> None:
        self._index, self._past, self._claim, self._edition = index, past, claim, edition
        self._slots = slots_of(index.domain)
        self._by_key = {entity.key: entity for entity in index.domain.entities}

    def window(self, feature: WindowFeature) -> Counted:
        """Return the rows of a window and its value."""
        claim, entity = self._claim, feature.entity
        key = claim.keys[self._slots.index((entity, entity.key))]
        if key == NO_KEY:
            return Counted([], math.nan, f"the claim names no {entity.name}")
        if not claim.is_applied:
            return Counted([], math.nan, "the claim came too late for an exact count")
        slots = [i for i, (each, _) in enumerate(self._slots) if each == entity]
        high = claim.time_ms - feature.delay_ms
        low = high - feature.width_ms

        def is_mine(other: PastClaim) -> bool:
            return other.is_applied and any(other.keys[slot] == key for slot in slots)

        if feature.known:
            return self._labels(feature, low, high, is_mine)
        inside = [c for c in self._past.claims if low < c.time_ms <= high and is_mine(c)]
        is_in = feature.current and feature.delay_ms == 0
        inside.sort(key=lambda each: (each.time_ms, each.row), reverse=True)
        if feature.aggregate == "since_last":
            rows = [row_of_claim(self._index, inside[0])] if inside else []
            value = (claim.time_ms - inside[0].time_ms) / DAY_MS if inside else feature.empty
            return Counted(rows, value)
        return self._aggregate(feature, [claim, *inside] if is_in else inside)

    def profile(self, group: Group) -> list[CountedRow]:
        """Return the change that made the profile in force; empty for an unknown entity."""
        index, best = self._index, None
        for row, event in self._past.changes:
            at_ms = int(index.columns["event_times"][row])
            if type(event) is group.event and (best is None or at_ms >= best[1]):
                best = row, at_ms, event
        if best is None:
            return []
        row, at_ms, event = best
        columns = index.columns
        return [
            CountedRow(
                "profile", group.event.topic, int(columns["partitions"][row]),
                int(columns["positions"][row]), at_ms, int(columns["log_times"][row]),
                str(getattr(event, group.event.id_field)),
            )
        ]  # fmt: skip

    def _labels(
        self, feature: WindowFeature, low: int, high: int, is_mine: Callable[[PastClaim], bool]
    ) -> Counted:
        """Count labels by their arrival."""
        inside = [e for e in self._past.labels if low < e.known_ms <= high and is_mine(e.claim)]
        columns, rows = self._index.columns, []
        labels = self._index.domain.labels
        assert labels is not None
        for each in reversed(inside):
            of_claim = row_of_claim(self._index, each.claim)
            rows.append(
                msgspec.structs.replace(
                    of_claim, kind="label", topic=labels.event.topic,
                    partition=int(columns["partitions"][each.row]),
                    position=int(columns["positions"][each.row]),
                    event_time_ms=int(columns["event_times"][each.row]),
                    known_time_ms=each.known_ms, value=float(each.is_fraud),
                    outcome="fraud" if each.is_fraud else "legit", outcome_known_ms=each.known_ms,
                )
            )  # fmt: skip
        frauds = sum(each.is_fraud for each in inside)
        if feature.aggregate == "outcomes":
            return Counted(rows, float(frauds))
        return Counted(rows, frauds / len(inside) if inside else feature.empty)

    def _aggregate(self, feature: WindowFeature, counted: Sequence[PastClaim]) -> Counted:
        rows = []
        numbers: list[int] = []
        texts: set[str] = set()
        for each in counted:
            number, text = None, ""
            if feature.aggregate == "distinct":
                text = self._distinct_key(feature.value, each)
                if text:
                    texts.add(text)
            elif feature.value:
                number = number_of(getattr(each.event, feature.value))
                if number is not None and not math.isnan(number):
                    numbers.append(int(number))
            row = row_of_claim(self._index, each, number, text)
            rows.append(msgspec.structs.replace(row, is_current=each is self._claim))
        frauds = sum(each.outcome == FRAUD for each in counted if each is not self._claim)
        value = {
            "count": lambda: float(len(counted)),
            "distinct": lambda: float(len(texts)),
            "outcomes": lambda: float(frauds),
            "rate": lambda: frauds / len(counted) if counted else feature.empty,
        }.get(feature.aggregate, lambda: _of_numbers(feature, numbers))()
        return Counted(rows, value)

    def _distinct_key(self, name: str, claim: PastClaim) -> str:
        """Return the id that a distinct count takes from a claim, empty for none."""
        written = getattr(claim.event, name)
        if written is None:
            return ""
        entity = self._by_key.get(name)
        if entity is not None:
            rules = rules_of(self._index.domain, entity, claim.edition)
        else:
            from featurestore.fields.id_rules import id_rules

            rules = id_rules("id", self._index.domain.missing_ids(claim.edition), claim.edition)
        return rules.keys([str(written)])[0][0]


def _of_numbers(feature: WindowFeature, numbers: Sequence[int]) -> float:
    """Return the sum, mean, standard deviation, minimum or maximum of the values."""
    count, total = len(numbers), sum(numbers)
    match feature.aggregate:
        case "sum":
            return float(total)
        case "mean":
            return float(total) / count if count else feature.empty
        case "std":
            if count < 2:
                return feature.empty
            exact = count * sum(each * each for each in numbers) - total * total
            return math.sqrt(float(exact) / (float(count) * float(count - 1)))
        case "min":
            return float(min(numbers)) if numbers else feature.empty
        case _:
            return float(max(numbers)) if numbers else feature.empty
