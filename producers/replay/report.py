"""The report of a replay: rows read, events by topic, rows without a label, rows refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

_MAX_TEXTS: Final = 1000
"""Distinct texts that are counted one by one; a column of narratives has millions."""
_SHOWN: Final = 5
_SHOWN_CHARS: Final = 40


class TextCounts:
    """Counts of texts, of which only the first `_MAX_TEXTS` distinct ones are kept."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count one more occurrence of a text; only its first characters are kept."""
        self.total += 1
        text = text[:_SHOWN_CHARS]
        if text in self.counts or len(self.counts) < _MAX_TEXTS:
            self.counts[text] += 1

    def __str__(self) -> str:
        most = self.counts.most_common(_SHOWN)
        shown = ", ".join(repr(text) for text, _ in most)
        return shown + (", ..." if self.total > sum(count for _, count in most) else "")


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


@dataclass
class ReplayReport:
    """Counts of a replay, complete once its last record has been taken."""

    rows: int = 0
    events: Counter[str] = field(default_factory=Counter)
    """Events by topic, labels included, rows that went to the dead-letter topic not."""
    refused: Counter[str] = field(default_factory=Counter)
    """Rows refused, by reason."""
    refusals: list[str] = field(default_factory=list)
    """The first of them in words."""
    label_texts: TextCounts = field(default_factory=TextCounts)
    """Rows without a label: their text is not one of `values`."""
    label_missing: int = 0
    """Rows without a label: they have no text there."""
    label_delay_missing: int = 0
    """Rows without a label: they have an outcome, but no delay."""
    label_ahead: int = 0
    """Rows without a label: their outcome would be known after now."""
    other_outcomes: TextCounts = field(default_factory=TextCounts)
    """Outcomes sent that the domain doesn't count as labels."""

    @property
    def without_label(self) -> int:
        """Rows that became an event, but no label."""
        return (self.label_texts.total + self.label_missing + self.label_delay_missing
                + self.label_ahead)  # fmt: skip

    def refuse(self, reason: str, words: str) -> None:
        """Count a refused row."""
        self.refused[reason] += 1
        if len(self.refusals) < _SHOWN:
            self.refusals.append(words)

    def lines(self) -> list[str]:
        """Return the report in words, a line for each fact that somebody should know."""
        said = [f"{_rows(self.rows)} read"]
        said += [f"{count:,} events of {topic}" for topic, count in self.events.items()]
        if self.without_label:
            said.append(f"{_rows(self.without_label)} without a label")
        if self.label_texts.total:
            said.append(f"  {_rows(self.label_texts.total)} with a text that `values` doesn't "
                        f"name: {self.label_texts}")  # fmt: skip
        for count, why in (
            (self.label_missing, "with no value there"),
            (self.label_delay_missing, "with an outcome, but no delay"),
            (self.label_ahead, "with an outcome that would be known only after now: replay later"),
        ):
            if count:
                said.append(f"  {_rows(count)} {why}")
        if (others := self.other_outcomes.total) == 1:
            said.append(f"1 outcome is not a label of the domain: {self.other_outcomes}")
        elif others:
            said.append(f"{others:,} outcomes are not labels of the domain: {self.other_outcomes}")
        if self.refused:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.refused.items())
            said.append(f"{_rows(self.refused.total())} refused: {reasons}")
            said += [f"  {each}" for each in self.refusals]
        return said

    def as_dict(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "rows": self.rows,
            "events": dict(self.events),
            "rows_without_label": {
                "total": self.without_label,
                "text_not_in_values": self.label_texts.total,
                "texts": dict(self.label_texts.counts.most_common(_SHOWN)),
                "missing": self.label_missing,
                "delay_missing": self.label_delay_missing,
                "after_now": self.label_ahead,
            },
            "outcomes_not_labels": dict(self.other_outcomes.counts.most_common(_SHOWN)),
            "rows_refused": dict(self.refused),
        }
