"""Pictures of explanations, drawn by the package shap: bars, beeswarm, dependence, waterfall."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from ...explanation.examples import Example
from ...explanation.explanation import DrawnClaims, Explanation
from ...explanation.tables import number, signed
from ..markup import Markup
from .canvas import FRAUD, INK, LEGIT, LOW_TO_HIGH, UNKNOWN, drawing, label, svg_of

_ROWS: Final = 12
_DEPENDENCE: Final = 4
_PARTS: Final = 9
_LEVELS: Final = 24
"""Colours between the lowest and the highest value: finer ones can't be told apart."""
_LEFT: Final = 0.38


def bars(explanation: Explanation) -> Markup:
    """Draw the mean absolute SHAP value of the most influential features."""
    import shap

    shown = explanation.influences[:_ROWS]
    values = np.array([one.mean_absolute for one in shown])
    names = [label(one.feature) for one in shown]
    rows = len(shown)
    with drawing(0.9 + 0.24 * rows) as figure, _styled(primary_color_positive=LEGIT):
        axes = figure.add_axes(_box(rows, left=_LEFT))
        shap.plots.bar(shap.Explanation(values, feature_names=names), max_display=rows,
                       ax=axes, show=False)  # fmt: skip
        axes.set_yticks(np.arange(rows, 0, -1), names)
        for written, bar in zip(axes.texts, axes.patches, strict=False):
            written.set(text=f"{bar.get_width():.2f}", fontsize=8, color=INK)
        axes.set_xlim(0, 1.12 * max([1e-6, *(bar.get_width() for bar in axes.patches)]))
        _plain(axes, "mean absolute contribution to a score, in log-odds")
        return svg_of(figure, "bars", "Mean absolute contribution of the features")


def beeswarm(explanation: Explanation, drawn: DrawnClaims) -> Markup:
    """Draw the contribution of each feature to each claim, coloured by the feature's value."""
    import shap

    names = [one.feature for one in explanation.influences]
    rows = min(_ROWS, len(names))
    with drawing(1.1 + 0.28 * rows) as figure, _styled():
        axes = figure.add_axes(_box(rows, left=_LEFT))
        columns = [drawn.names.index(name) for name in names]
        claims = shap.Explanation(
            drawn.values[:, columns], data=drawn.matrix[:, columns],
            feature_names=[label(name) for name in names],
        )  # fmt: skip
        shap.plots.beeswarm(claims, max_display=rows, order=np.arange(len(names)), ax=axes,
                            plot_size=None, show=False, color=_colours(), s=7, color_bar=False,
                            group_remaining_features=False)  # fmt: skip
        axes.set_yticks(np.arange(rows), [label(name) for name in names[:rows]][::-1])
        _plain(axes, "contribution to the score of one claim, in log-odds")
        _legend(figure)
        return svg_of(figure, "beeswarm", "Contribution of each feature to each claim")


def dependence(explanation: Explanation, drawn: DrawnClaims) -> Markup:
    """Draw the contribution against the value, for the most influential features."""
    import shap
    from matplotlib.ticker import MaxNLocator

    shown = [one.feature for one in explanation.influences if one.mean_absolute > 0][:_DEPENDENCE]
    if not shown:
        return Markup()
    rows = (len(shown) + 1) // 2
    with drawing(0.25 + 2.3 * rows) as figure, _styled():
        for place, name in enumerate(shown):
            left, top = 0.09 + 0.49 * (place % 2), 1 - (place // 2) / rows
            axes = figure.add_axes((left, top - 0.80 / rows, 0.40, 0.66 / rows))
            at = drawn.names.index(name)
            has = ~np.isnan(drawn.matrix[:, at])
            values, data = drawn.values[has, at], drawn.matrix[has, at]
            axes.set_title(label(name))
            if not has.any():
                continue
            claims = shap.Explanation(values, data=data, feature_names=label(name))
            shap.plots.scatter(claims, ax=axes, show=False, color=LEGIT, dot_size=5, hist=False,
                               x_jitter=0)  # fmt: skip
            missing = drawn.values[~has, at]
            if len(missing):
                axes.axhline(float(missing.mean()), color=UNKNOWN, linestyle="--", linewidth=0.9)
            # The far end of a heavy tail would press all other claims against the axis.
            low, high = np.quantile(data, [0.005, 0.995])
            room = 0.03 * (high - low) or 0.5
            axes.set_xlim(low - room, high + room)
            if (data == np.round(data)).all():
                axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            _plain(axes, "")
            axes.set_ylabel("log-odds" if place % 2 == 0 else "")
        return svg_of(figure, "dependence", "Contribution against the value of a feature")


def waterfall(example: Example, name: str) -> Markup:
    """Draw how one claim's contributions lead from where every claim starts to its log-odds."""
    import shap
    from matplotlib import pyplot as plt

    rows = min(_PARTS, len(example.parts))
    with drawing(0.6 + 0.25 * rows) as figure, _styled():
        axes = figure.add_axes(_box(rows, left=_LEFT, bottom=0.46))
        plt.sca(axes)
        size = figure.get_size_inches()
        claim = shap.Explanation(
            np.array([part.contribution for part in example.parts]),
            base_values=example.expected,
            data=np.zeros(len(example.parts)),  # values are written by us, below
            feature_names=[label(part.feature) for part in example.parts],
        )
        shap.plots.waterfall(claim, max_display=rows, show=False)
        figure.set_size_inches(size)
        for other in figure.axes:
            if other is not axes:  # shap's own marks of both ends are set in TeX
                other.remove()
        ticks = [f"{label(part.feature, 32)} = {number(part.value)}" for part in example.parts]
        if len(ticks) > rows:
            ticks = [*ticks[: rows - 1], f"{len(ticks) - rows + 1} other features"]
        axes.set_yticks(np.arange(rows), ticks[:rows][::-1])
        for written in axes.texts:
            written.set_fontsize(8)
        _plain(axes, f"log-odds, from {signed(example.expected, 2)} to {signed(example.margin, 2)}")
        return svg_of(figure, name, f"Contributions to the score of claim {example.claim_id}")


def _box(rows: int, left: float, bottom: float = 0.5) -> tuple[float, float, float, float]:
    """Return the place of axes with room for labels: left, bottom, width, height."""
    height = 0.9 + 0.24 * rows
    return (left, bottom / height, 0.98 - left, 1 - (bottom + 0.12) / height)


def _plain(axes: Any, words: str) -> None:
    """Give axes of shap the look of all others."""
    axes.tick_params(labelsize=8.5, labelcolor=INK)
    axes.set_xlabel(words, fontsize=8.5, color=INK)
    axes.set_ylabel(axes.get_ylabel(), fontsize=8.5, color=INK)
    axes.grid(visible=False)
    for spine in ("left", "bottom"):
        axes.spines[spine].set_edgecolor(INK)
        axes.spines[spine].set_linewidth(0.6)


def _legend(figure: Any) -> None:
    """Say what the colours mean: low and high values, and missing ones."""
    from matplotlib.lines import Line2D

    low, _, high = LOW_TO_HIGH
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=4, color=colour, label=words)
        for colour, words in ((low, "low value"), (high, "high value"), ("#777777", "missing"))
    ]
    figure.legend(handles=marks, loc="upper right", ncols=3, fontsize=8, borderaxespad=0.1)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("values", LOW_TO_HIGH, N=_LEVELS)


@contextmanager
def _styled(**colours: str) -> Iterator[None]:
    """Draw shap's pictures in the page's colours, and its jitter from a fixed seed.

    The state of numpy's global generator is as before afterwards.
    """
    from shap.plots._style import style_context

    state = np.random.get_state()  # shap draws its jitter from the global generator
    np.random.seed(7)
    try:
        with style_context(**{
            "primary_color_positive": FRAUD, "primary_color_negative": LEGIT, "text_color": "white",
            "hlines_color": "#e3e5e8", "vlines_color": "#8a8f98", **colours,
        }):  # fmt: skip
            yield
    finally:
        np.random.set_state(state)
