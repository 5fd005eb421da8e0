"""The first page: what this is in five sentences, the verdict, and the key figures."""

from __future__ import annotations

import math

import numpy as np

from ..evaluation.evaluate import Evaluation, Interval
from ..report import TrainingReport, money
from .markup import Markup, element, join
from .pieces import key_figures


def day(time_ms: int) -> str:
    """Return the date of a time, such as `2026-02-10`."""
    return str(np.datetime64(time_ms, "ms").astype("datetime64[D]"))


def moment(time_ms: int) -> str:
    """Return a time to the minute in UTC."""
    return str(np.datetime64(time_ms, "ms").astype("datetime64[m]")).replace("T", " ") + " UTC"


def percent(ratio: float, decimals: int = 1) -> str:
    """Write a ratio as a percentage; `unknown` where it is undefined.

    >>> percent(0.8149), percent(float("nan"))
    ('81.5 %', 'unknown')
    """
    return "unknown" if math.isnan(ratio) else f"{100 * ratio:.{decimals}f} %"


def sentence(words: str) -> str:
    """Begin a text with a capital letter, and end it with a full stop.

    >>> sentence("kept the champion")
    'Kept the champion.'
    """
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def between(interval: Interval) -> str:
    """Write a ratio with its 95 % interval."""
    if math.isnan(interval.value):
        return "unknown"
    if math.isnan(interval.low):
        return percent(interval.value)
    return f"{percent(interval.value)} ({percent(interval.low)} to {percent(interval.high)})"


def five_sentences(report: TrainingReport, domain: str) -> Markup:
    """Say what the model does, how it was judged, what it finds, and what was decided."""
    found = report.evaluation
    test = next(part for part in report.parts if part.name == "test")
    sentences = [
        f"This model of {domain} gives every claim a score between 0 and 1, its probability of "
        f"being fraud, and the {found.capacity_per_day:g} claims a day with the highest scores go "
        "to investigators.",
        f"It was judged on {found.claims:,} claims filed from {day(test.from_ms)} to "
        f"{day(test.to_ms)}; {found.labelled:,} of them have a verdict, {found.frauds:,} "
        f"are fraud; {_unseen(report)}.",
        _quality_words(found),
        "In groups of claims with like scores, the mean score is off the share of frauds by "
        f"{100 * found.calibration_error:.2f} percentage points on average; known frauds are "
        f"{percent(found.base_ratio, 2)} of the claims with a verdict.",
        f"The model that is published has learned from {_released(report):,} claims, those of the "
        "test among them; the figures here are those of its twin, which had the same settings and "
        "had not seen the test.",
    ]
    return element("ol", *(element("li", words) for words in sentences))


def _unseen(report: TrainingReport) -> str:
    return (
        "none had been learned from when they were scored"
        if report.split == "group"
        else "all were filed after everything that the judged model has learned from"
    )


def _quality_words(found: Evaluation) -> str:
    words = (
        f"Of the claims that it refers, {between(found.precision)} are fraud, where a perfect "
        f"ranking would reach {percent(found.precision_ceiling)}; it finds {between(found.recall)} "
        "of the known frauds"
    )
    if found.money_found_ratio is not None and found.money_found_cents is not None:
        words += (
            f" and {between(found.money_found_ratio)} of their money "
            f"({money(found.money_found_cents)})"
        )
    return words + "."


def _released(report: TrainingReport) -> int:
    return next(part.claims for part in report.parts if part.name == "released model")


def verdict(report: TrainingReport) -> Markup:
    """Show the verdict of the comparison with the champion."""
    state = "good" if report.promoted else "bad"
    name = "Accepted as champion" if report.promoted else "Not accepted as champion"
    return element(
        "div",
        element("p", element("b", name)),
        element("p", sentence(report.verdict.words)),
        class_=f"verdict {state}",
    )


def key(report: TrainingReport) -> Markup:
    """Show the figures that people ask for first."""
    found = report.evaluation
    shown = [
        (percent(found.precision.value), "of the referred claims are fraud, at "
         f"{found.capacity_per_day:g} a day"),
        (percent(found.recall.value), "of the known frauds are found"),
        (_plain(found.average_precision.value), "average precision (chance: "
         f"{_plain(found.base_ratio)})"),
        (_plain(found.auc.value), "AUC (chance: 0.500)"),
    ]  # fmt: skip
    if found.money_found_ratio is not None:
        shown.insert(2, (percent(found.money_found_ratio.value), "of the frauds' money is found"))
    return key_figures(shown)


def _plain(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"


def head(report: TrainingReport, domain: str, made_ms: int) -> Markup:
    """Show the title, and which model this is."""
    facts = (
        f"made {moment(made_ms)} · from what was known at {moment(report.at_ms)} · model "
        f"{report.model.digest[:16]} · definitions {report.definitions[:16]}"
    )
    return join(element("h1", f"Model report: {domain}"), element("p", facts, class_="facts"))
