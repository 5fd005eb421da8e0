"""A decision in words: as text, and as a notebook shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from claimtrace.decisions import SealedDecision
from claimtrace.looks import AdvisoryDecision

from .cards import Rows, card

if TYPE_CHECKING:
    import pandas as pd

_ONLY_REFERRED: Final = "none: reasons are sealed for referred claims only"
_COLOURS: Final = {"refer": "#b3261e", "review": "#8a6100", "approve": "#1b6e3c"}


class FeatureText(NamedTuple):
    """The name of a feature, and what it counts, in words."""

    name: str
    how: str
    text: str


class Explained:
    """A decision, or what would be decided, in words.

    A notebook shows it as a table; `print` as text. Nothing is computed again: these are the
    sealed values.

    Attributes:
        decision: all of its fields.
        is_advisory: whether it is a look: then it is on no log.
    """

    def __init__(
        self,
        decision: SealedDecision | AdvisoryDecision,
        features: Sequence[FeatureText],
        proof: str = "",
    ) -> None:
        self.decision = decision
        self.is_advisory = isinstance(decision, AdvisoryDecision)
        self._features, self._proof = features, proof

    @property
    def reasons(self) -> pd.DataFrame:
        """The sealed reasons, a row each; the largest contribution to the margin first."""
        import pandas as pd

        columns = ["feature", "value", "contribution", "text", "compared_with", "usual"]
        rows = [
            (r.feature, r.value, r.contribution, r.text,
             r.baseline.kind if r.baseline else None, r.baseline.value if r.baseline else None)
            for r in self.decision.reasons
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    @property
    def features(self) -> pd.DataFrame:
        """The vector, a row for each feature: name, value (NaN is missing), how it is counted."""
        import pandas as pd

        values = [float("nan") if v is None else v for v in self.decision.features]
        rows = [(each.name, value, each.how, each.text)
                for each, value in zip(self._features, values, strict=True)]  # fmt: skip
        return pd.DataFrame(rows, columns=["feature", "value", "how", "text"])

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        d = self.decision
        reasons = [(f"{r.contribution:+.2f}", r.text) for r in d.reasons]
        tables: list[tuple[str, Rows]] = [("facts", list(self._facts()))]
        if d.rules:
            tables.append(("rules", [(hit.rule, hit.text) for hit in d.rules]))
        tables.append(("why", reasons or [(self._no_reasons(),)]))
        return card(f"{d.claim_id}: {d.outcome}", tables, _COLOURS.get(d.outcome, "#444"))

    def _lines(self) -> Iterator[str]:
        d = self.decision
        yield f"{_plain(d.claim_id)}: {_plain(d.outcome)}"
        for name, words in self._facts():
            yield f"  {name:<9} {_plain(words)}"
        for hit in d.rules:
            yield f"  {'rule':<9} {_plain(hit.text)}"
        for r in d.reasons:
            yield f"  {r.contribution:+9.2f} {_plain(r.text)}"
        if not d.reasons:
            yield f"  {'why':<9} {self._no_reasons()}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        d = self.decision
        if d.score is None:
            yield "score", "none: no model was in charge"
        else:
            bar = "" if d.threshold is None else f", referred from {d.threshold:.4f} on"
            yield "score", f"{d.score:.4f}{bar}"
        if d.margin is not None:
            rest = f", others {d.rest_margin:+.2f}" if d.rest_margin is not None else ""
            base = f" (base {d.base_margin:+.2f}{rest})" if d.base_margin is not None else ""
            yield "margin", f"{d.margin:+.2f}{base}"
        if d.model is not None:
            yield "model", d.model.label
        yield "filed", time_text(d.event_time_ms)
        if isinstance(d, AdvisoryDecision):
            yield "a look", f"nothing was written; the state after plan {d.as_of.plan:,}"
        else:
            place = f"{d.topic}, partition {d.partition}, position {d.position:,}"
            yield "on log", f"{time_text(d.log_time_ms)}, {place}"
        if d.flags:
            yield "flags", ", ".join(d.flags)
        if self._proof:
            yield "proof", self._proof

    def _no_reasons(self) -> str:
        return "none: no model was in charge" if self.decision.score is None else _ONLY_REFERRED


def time_text(at_ms: int) -> str:
    """Write a time for people; one that no calendar has stays a number.

    >>> time_text(0), time_text(10**18)
    ('1970-01-01 00:00 UTC', '1000000000000000000 ms')
    """
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def _plain(words: Any) -> str:
    """Return text from outside without control characters or terminal escapes."""
    return "".join(c for c in str(words) if c.isprintable())
