"""The section about the drift reference: what live claims will be compared with."""

from __future__ import annotations

from claimtrace.clock import DAY_MS
from monitoring.windows.reference import Reference

from ..explanation.explanation import Explanation
from ..explanation.tables import number
from ..tables import Table
from .adapters.quality import ordinary_noise
from .markup import Markup, join
from .pieces import figure_of, paragraphs, table_of
from .summary import percent

_MOST_FEATURES = 20


def drift(reference: Reference, explanation: Explanation | None) -> Markup:
    """Show the reference: its size, its referral rate, and the features that matter most."""
    place = {name: at for at, name in enumerate(reference.names)}
    order = [one.feature for one in explanation.influences] if explanation else reference.names
    shown = order[:_MOST_FEATURES]
    noise = reference.window_noise
    rows = []
    for name in shown:
        one = reference.features[place[name]]
        median = "-" if one.median is None else number(one.median)
        missing = percent(one.missing / reference.n) if reference.n else "-"
        ordinary = "-" if noise is None else f"{noise.features[place[name]]:.3f}"
        rows.append([name, median, missing, ordinary])
    words = (
        f"Live claims are compared with {reference.n:,} claims that the judged model hadn't seen; "
        f"{percent(reference.referred / max(1, reference.scored), 2)} of them would be referred, "
        f"and {reference.unseen:,} had a category that the definitions don't list."
    )
    if noise is None:
        calm = "There were too few windows of claims to know how much they differ ordinarily."
    else:
        calm = (
            f"Windows ({noise.window_ms / DAY_MS:g} days each) differ from the whole even when "
            f"nothing is wrong; {noise.windows:,} of them gave the ordinary distances (PSI beyond "
            "chance: mean and three standard deviations). An alert needs more: for the score "
            f"{noise.score:.3f}, for the share of referred claims "
            f"{percent(noise.referral_ratio, 2)}."
        )
    header = ["feature", "median", "missing", "ordinary distance"]
    title = f"Reference of the {len(shown)} most influential of {len(order)} features"
    picture = Markup() if noise is None else ordinary_noise(shown[:12], reference, place)
    return join(
        paragraphs(words, calm),
        figure_of(picture, "How far a window is from the whole reference when nothing is wrong: a "
                  "feature further to the right must change more before it alerts."),
        table_of(Table(title, header, rows)),
    )  # fmt: skip
