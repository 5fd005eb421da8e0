"""Pictures of quality: precision against recall, calibration, scores, months, the delay."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from monitoring.windows.reference import Reference

from ...data.maturity import Maturity, delay_curve
from ...evaluation.evaluate import Evaluation
from ...evaluation.metrics import Ranking
from ...run import TrainingRun
from ..markup import Markup
from .canvas import FAINT, FRAUD, INK, LEGIT, UNKNOWN, drawing, label, svg_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_GROUPS: Final = 10
_MOST_POINTS: Final = 400
_MOST_MONTHS: Final = 24
_LEAST_FRAUDS: Final = 5
"""A month with fewer known frauds has no average precision that says anything."""
_LEAST_SCORE: Final = 1e-5


def precision_recall(run: TrainingRun) -> Markup:
    """Draw precision against recall, and the day's capacity with its interval."""
    evaluation, panel = run.evaluation, run.panel
    known = ~np.isnan(panel.labels)
    precision, recall = precision_recall_points(
        panel.labels[known] == 1, run.margins[panel.rows][known]
    )
    with drawing(3.3) as figure:
        axes = figure.add_axes((0.09, 0.15, 0.88, 0.80))
        axes.plot(recall, precision, color=LEGIT, label="this model, at any threshold")
        axes.axhline(evaluation.base_ratio, color=UNKNOWN, linestyle="--", linewidth=0.9,
                     label="claims picked by chance")  # fmt: skip
        _at_capacity(axes, evaluation, "o", FRAUD, "this model, at capacity")
        if run.champion_evaluation is not None:
            _at_capacity(axes, run.champion_evaluation, "s", INK, "champion, at capacity")
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("share of the known frauds that are found (recall)")
        axes.set_ylabel("frauds among referred (precision)")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.08), fontsize=8)
        return svg_of(figure, "pr", "Precision against recall, with the capacity marked")


def _at_capacity(axes: Any, evaluation: Evaluation, marker: str, colour: str, words: str) -> None:
    x, y = evaluation.recall, evaluation.precision
    if np.isnan([x.value, y.value]).any():
        return
    axes.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=0.9)
    axes.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=0.9)
    axes.plot([x.value], [y.value], marker, color=colour, markersize=5.5, label=words)


def precision_recall_points(is_fraud: Bools, scores: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Return precision and recall at up to 400 thresholds, from the highest down; both float64[k].

    >>> found = precision_recall_points(np.array([True, False, True]), np.array([3.0, 2.0, 1.0]))
    >>> [each.round(2).tolist() for each in found]
    [[1.0, 0.5, 0.67], [0.5, 0.5, 1.0]]
    """
    frauds, rows = Ranking(is_fraud, scores).steps(None)
    if not len(frauds) or frauds[-1] == 0:
        return np.zeros(0), np.zeros(0)
    at = np.arange(len(frauds))
    if len(at) > _MOST_POINTS:
        # Even steps of recall: the curve's left end would vanish in even steps of claims.
        wanted = np.linspace(0, frauds[-1], _MOST_POINTS)
        at = np.unique(np.minimum(np.searchsorted(frauds, wanted), len(frauds) - 1))
    return frauds[at] / rows[at], frauds[at] / frauds[-1]


def calibration(run: TrainingRun) -> Markup:
    """Draw the share of frauds against the score, in groups that expect equally many frauds."""
    panel = run.panel
    known = ~np.isnan(panel.labels)
    scores = run.calibration.probabilities(run.margins[panel.rows][known])
    expected, found, low, high = calibration_points(panel.labels[known] == 1, scores)
    with drawing(3.3) as figure:
        axes = figure.add_axes((0.09, 0.15, 0.88, 0.80))
        axes.plot([0, 1], [0, 1], color=UNKNOWN, linestyle="--", linewidth=0.9,
                  label="exactly as many frauds as the score says")  # fmt: skip
        axes.vlines(expected, low, high, color=FRAUD, linewidth=0.9)
        axes.plot(expected, found, "o", color=FRAUD, markersize=5,
                  label="test claims in ten groups, with 95 % intervals")  # fmt: skip
        most = min(1.0, float(max([0.05, *(1.15 * np.maximum(expected, high))])))
        axes.set_xlim(0, most)
        axes.set_ylim(0, most)
        axes.set_xlabel("mean score of the group")
        axes.set_ylabel("share of frauds found")
        axes.legend(loc="upper left", fontsize=8)
        return svg_of(figure, "calibration", "Share of frauds against the mean score")


def calibration_points(
    is_fraud: Bools, scores: Floats, groups: int = _GROUPS
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return mean score, share of frauds and its 95 % interval for groups of claims, by score.

    The groups hold equal sums of scores, so that a rare fraud's end of the scale isn't one point.
    The interval is Wilson's ("Probable inference", 1927).
    """
    order = np.argsort(scores, kind="stable")
    sums = np.cumsum(scores[order])
    if not len(sums) or sums[-1] <= 0:
        return np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0)
    part = np.minimum((sums / sums[-1] * groups).astype(np.int64), groups - 1)
    count = np.bincount(part, minlength=groups).astype(np.float64)
    kept = count > 0
    frauds = np.bincount(part, is_fraud[order], groups)[kept]
    mean = np.bincount(part, scores[order], groups)[kept] / count[kept]
    n, z = count[kept], 1.959964
    share = frauds / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return mean, share, np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def scores(run: TrainingRun) -> Markup:
    """Draw how the scores of frauds, of legitimate claims and of all claims are spread."""
    rows = run.panel.rows
    found, labels = run.probabilities[rows], run.dataset.labels[rows]
    edges = np.logspace(np.log10(_LEAST_SCORE), 0, 41)
    parts = (("legitimate", labels == 0, LEGIT, "-"), ("fraud", labels == 1, FRAUD, "-"),
             ("no verdict", np.isnan(labels), UNKNOWN, ":"))  # fmt: skip
    with drawing(3.0) as figure:
        axes = figure.add_axes((0.09, 0.17, 0.88, 0.77))
        for name, among, colour, line in parts:
            count = int(among.sum())
            if not count:
                continue
            held = np.histogram(np.clip(found[among], _LEAST_SCORE, 1.0), edges)[0] / count
            axes.stairs(held, edges, color=colour, linestyle=line, linewidth=1.4,
                        label=f"{name} ({count:,} claims)")  # fmt: skip
        for name, style in (("refer", "-"), ("review", "--")):
            at = max(run.thresholds[name].value, _LEAST_SCORE)
            axes.axvline(at, color=INK, linewidth=0.9, linestyle=style,
                         label=f"{name} from {run.thresholds[name].value:.4f}")  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlim(_LEAST_SCORE, 1.0)
        axes.set_xticks([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
                        ["0.00001", "0.0001", "0.001", "0.01", "0.1", "1"])  # fmt: skip
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("score (probability of fraud)")
        axes.set_ylabel("share of its claims")
        axes.legend(loc="upper left", fontsize=8)
        return svg_of(figure, "scores", "Scores of frauds and of legitimate claims")


def months(run: TrainingRun) -> Markup:
    """Draw each month's claims, how many have a verdict, and the quality in the test's months."""
    names, claims, known, quality = month_points(run)
    at = np.arange(len(names))
    with drawing(3.9) as figure:
        upper = figure.add_axes((0.09, 0.50, 0.88, 0.44))
        upper.bar(at, claims, color=FAINT, label="claims without a verdict yet")
        upper.bar(at, known, color=LEGIT, label="with a verdict")
        upper.set_ylabel("claims a month")
        upper.yaxis.set_major_formatter("{x:,.0f}")
        upper.grid(axis="x", visible=False)
        upper.set_ylim(top=1.25 * max(1, int(claims.max())))
        upper.legend(loc="upper left", fontsize=8, ncols=2)
        upper.tick_params(labelbottom=False)
        lower = figure.add_axes((0.09, 0.12, 0.88, 0.32), sharex=upper)
        lower.plot(at, quality, "o-", color=FRAUD, markersize=4)
        lower.set_ylim(0, 1.05)
        lower.set_ylabel("average precision")
        step = 1 + (len(names) - 1) // 9
        lower.set_xticks(at[::step], names[::step])
        return svg_of(figure, "months", "Claims, verdicts and quality by month")


def month_points(run: TrainingRun) -> tuple[list[str], Ints, Ints, Floats]:
    """Return the last months: names, claims, claims with a verdict, average precision of the test.

    The average precision is NaN outside of the test, and with fewer than five known frauds.
    """
    dataset, panel = run.dataset, run.panel
    month_of = dataset.event_times_ms.astype("datetime64[ms]").astype("datetime64[M]")
    names = np.unique(month_of)[-_MOST_MONTHS:]
    code = np.searchsorted(names, month_of)
    recent = month_of >= names[0]
    claims = np.bincount(code[recent], minlength=len(names))
    known = np.bincount(code[recent & dataset.has_label], minlength=len(names))
    quality = np.full(len(names), np.nan)
    judged = ~np.isnan(panel.labels)
    tested = month_of[panel.rows]
    for at, name in enumerate(names):
        rows = judged & (tested == name)
        is_fraud = panel.labels[rows] == 1
        if int(is_fraud.sum()) >= _LEAST_FRAUDS:
            margins = run.margins[panel.rows][rows]
            quality[at] = Ranking(is_fraud, margins).average_precision()
    return [str(name) for name in names], claims, known, quality


def delay(run: TrainingRun) -> Markup:
    """Draw the share of claims, and of frauds, whose verdict is known by age."""
    maturity: Maturity = run.maturity
    dataset = run.dataset
    curves = (("all verdicts", dataset.has_label, LEGIT), ("frauds", dataset.is_fraud, FRAUD))
    with drawing(2.6) as figure:
        axes = figure.add_axes((0.09, 0.19, 0.88, 0.74))
        for name, among, colour in curves:
            ages_ms, known = delay_curve(dataset, among)
            if not len(known):
                continue
            at = np.unique(np.linspace(0, len(known) - 1, 200).astype(np.int64))
            axes.plot(np.concatenate([[0], ages_ms[at] / DAY_MS]),
                      np.concatenate([[0], known[at] / known[-1]]), color=colour,
                      label=f"{name}: of those that come at all")  # fmt: skip
        axes.axvline(maturity.delay_ms / DAY_MS, color=INK, linewidth=0.9,
                     label=f"mature from {maturity.delay_ms / DAY_MS:.0f} days on")  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("age of the claim in days")
        axes.set_ylabel("verdicts known")
        axes.legend(loc="lower right", fontsize=8)
        return svg_of(figure, "delay", "Share of verdicts known by the age of a claim")


def ordinary_noise(names: list[str], reference: Reference, place: dict[str, int]) -> Markup:
    """Draw the ordinary distance of windows for some features."""
    noise = reference.window_noise
    assert noise is not None
    found = np.array([max(noise.features[place[name]], 0.0) for name in names])[::-1]
    at, height = np.arange(len(names)), 0.75 + 0.2 * len(names)
    with drawing(height) as figure:
        axes = figure.add_axes((0.38, 0.46 / height, 0.60, 1 - 0.54 / height))
        axes.hlines(at, 0, found, color=FAINT, linewidth=2)
        axes.plot(found, at, "o", color=LEGIT, markersize=5)
        axes.set_yticks(at, [label(name) for name in names][::-1])
        axes.set_xlim(0, max(0.01, 1.1 * float(found.max())) if len(found) else 1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("ordinary distance of a window (PSI beyond chance)")
        return svg_of(figure, "noise", "Ordinary distance of a window for each feature")
