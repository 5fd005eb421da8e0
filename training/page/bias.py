"""The section about bias: every metric of every facet in words, beside the report's own tables."""

from __future__ import annotations

from ..bias.comparison import Bias
from ..bias.measure import Measure
from ..bias.metrics import METRICS
from ..tables import Table
from .markup import Markup, join
from .pieces import paragraphs, table_of


def bias(found: Bias | None, tables: list[Table]) -> Markup:
    """Show what was measured; says so where the domain marks no facets."""
    shown = [table_of(table) for table in tables]
    if found is None or not found.facets:
        said = paragraphs(
            "The domain marks no facets, so nothing was measured: nobody has said which groups of "
            "people must not be treated differently."
        )
        return join(said, *shown)
    parts = [
        paragraphs(
            "Each facet is a group of people, compared with the others: before training, the "
            "verdicts that the model learned from; after it, what is referred at the threshold. "
            "Intervals are 95 %. A metric with too few cases on a side says nothing, whatever its "
            "value."
        ),
        *shown,
    ]
    for facet in found.facets:
        rows = [
            *(_row(one, "before") for one in facet.before),
            *(_row(one, "after") for one in facet.after),
        ]
        header = ["metric", "training", "value", "interval", "what it is"]
        parts.append(table_of(Table(f"All metrics of {facet.facet}", header, rows)))
    return join(*parts)


def _row(one: Measure, when: str) -> list[str]:
    known = METRICS.get(one.metric)
    words = known.words if known else ""
    if one.words:
        words = f"{words} ({one.state}: {one.words})"
    interval = "-" if one.low is None or one.high is None else f"{one.low:.3f} .. {one.high:.3f}"
    return [one.metric, when, "-" if one.value is None else f"{one.value:.3f}", interval, words]
