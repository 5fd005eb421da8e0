"""The section about explanations: pictures, the influence of features, claims one by one."""

from __future__ import annotations

from ..explanation.examples import Example
from ..explanation.explanation import DrawnClaims, Explanation
from ..explanation.tables import BASELINES, parts_table, signed
from ..tables import Table
from .adapters import influence as pictures
from .markup import Markup, element, join
from .pieces import figure_of, paragraphs, table_of
from .summary import day

_PARTS = 8
_MEANINGS = 20


def explanations(found: Explanation, drawn: DrawnClaims, tables: list[Table]) -> Markup:
    """Show what moves the scores: over all claims, and for a few claims one by one."""
    frauds = int(drawn.is_fraud.sum())
    return join(
        paragraphs(
            "A contribution (SHAP value) is the part of a claim's score that one feature adds or "
            "takes away. Contributions are in log-odds: +0.69 doubles the odds of fraud, -0.69 "
            "halves them. A claim's contributions sum exactly to its score before calibration.",
            f"Claims are compared with {BASELINES[found.baseline]}. Looked at were "
            f"{found.claims:,} claims, {found.frauds:,} known frauds among them, weighted to "
            f"stand for {found.stands_for:,}.",
        ),
        figure_of(pictures.bars(found), "How much a feature moves the scores on average, up or "
                  "down: those with the most influence. What the model uses need not be a cause."),
        figure_of(
            pictures.beeswarm(found, drawn),
            f"Each dot is one of {len(drawn.matrix):,} claims ({frauds:,} known frauds): to the "
            "right the feature raises its score, to the left it lowers it. The colour is the "
            "feature's value.",
        ),
        figure_of(
            pictures.dependence(found, drawn),
            "Contribution against the value, for the features with the most influence. A dashed "
            "line is the mean contribution where the value is missing. The extreme half per cent "
            "of the values at both ends lies outside of the picture.",
        ),
        *(table_of(table) for table in tables),
        _meanings(found),
        element("h3", "Claims one by one"),
        paragraphs(
            "By the judged model, on claims that it had not seen. Typical is the median of "
            f"{'all claims' if found.baseline != 'legitimate' else BASELINES['legitimate']}."
        ),
        *(_example(one, number) for number, one in enumerate(found.examples)),
    )  # fmt: skip


def _meanings(found: Explanation) -> Markup:
    rows = [[one.feature, one.text] for one in found.influences[:_MEANINGS] if one.text]
    if not rows:
        return Markup()
    return table_of(Table("The same features in words", ["feature", "what it is"], rows))


def _example(one: Example, number: int) -> Markup:
    facts = (
        f"Claim {one.claim_id} of {day(one.event_time_ms)}: score {one.score:.4f}, verdict: "
        f"{one.outcome}. It starts at {signed(one.expected, 2)} and ends at "
        f"{signed(one.margin, 2)} log-odds."
    )
    return element(
        "div",
        element("h3", one.kind[:1].upper() + one.kind[1:]),
        element("p", facts),
        element("figure", pictures.waterfall(one, f"claim{number}")),
        table_of(parts_table(one, _PARTS), caption=False, total_last=True),
        class_="example",
    )
