"""Steps about bias: measure it at the threshold for `refer`, and compare mitigations on request."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.definitions.facets import Facet
from models.kernels.forest import Forest

from ..bias.comparison import Bias, Mitigated
from ..bias.counts import count_table, sides_of
from ..bias.limits import bias_gate, limits_of
from ..bias.measure import Sample, measure_facet, measures
from ..bias.metrics import METRICS
from ..bias.mitigation import balanced, blanked, proxies_of, reweighed, smote
from ..evaluation.capacity import SCORE_DECIMALS
from ..evaluation.evaluate import Measured
from ..fitting.fitters import FITTERS, Rows
from ..run import TrainingRun

COMPARED = tuple(METRICS[code] for code in ("DPPL", "DI", "RD", "HRR", "AD"))
"""Metrics of the comparison of mitigations."""

_PLAIN = "as judged"


def measure_bias(run: TrainingRun) -> None:
    """Measure the bias of the judged model between the facets of the domain.

    Metrics of labels look at the claims that it learned from; those of outcomes at all claims of
    the test, with or without a verdict, at the threshold for `refer`.
    """
    threshold = run.thresholds["refer"].value
    limits = limits_of(run.settings.training.bias_limits)
    dataset, train, panel = run.dataset, run.split.train, run.panel
    learned = Sample(train, dataset.labels[train], np.zeros(len(train), np.bool_))
    test = Sample(
        panel.rows,
        panel.labels,
        np.round(run.probabilities[panel.rows], SCORE_DECIMALS) >= threshold,
    )
    facets = [
        measure_facet(facet, dataset.features, dataset.matrix, learned, test, run.seed)
        for facet in _facets(run)
    ]
    run.bias = Bias(
        threshold=threshold, limits=limits, gate=bias_gate(facets, limits), facets=facets
    )
    run.extra_gates.append(run.bias.gate)


def mitigate(run: TrainingRun) -> None:
    """Fit the chosen settings on changed claims, and compare quality and bias; publish nothing."""
    assert run.bias is not None
    facets = _facets(run)
    if not facets:
        return
    panel, threshold = run.panel, run.bias.threshold
    scores = np.round(run.probabilities[panel.rows], SCORE_DECIMALS)
    most = int(np.sum(scores >= threshold))
    plain = {_PLAIN: (run.margins[panel.rows], len(run.split.train))}
    drawn = smote(_learned(run), run.seed)
    plain["SMOTE of frauds"] = _fitted(run, drawn), len(drawn.labels)
    found = []
    for done, facet in enumerate(facets):
        run.progress("mitigate", done, len(facets))
        sides = sides_of(facet, run.dataset.matrix[panel.rows], run.dataset.features)
        for name, (margins, claims) in plain.items():
            found.append(_judged(run, facet, sides, name, "", margins, claims, most))
        for name, words, margins, claims in _changed(run, facet):
            found.append(_judged(run, facet, sides, name, words, margins, claims, most))
    run.progress("mitigate", len(facets), len(facets))
    run.bias = msgspec.structs.replace(run.bias, mitigations=found)


def _changed(run: TrainingRun, facet: Facet) -> Iterator[tuple[str, str, NDArray[np.float32], int]]:
    """Yield the mitigations of one facet: name, words, margins of the test, rows learned from."""
    rows, features = _learned(run), run.dataset.features
    sides = sides_of(facet, rows.matrix, features)
    for name, changed in (
        ("reweighing", reweighed(rows, sides)),
        ("balanced draw", balanced(rows, sides, run.seed)),
    ):
        yield name, "", _fitted(run, changed), len(changed.labels)
    own = list(facet.own_features)
    proxies = proxies_of(facet, features, rows.matrix, sides)
    for name, left in (("without facet", own), ("without proxies", own + proxies)):
        if name == "without facet" or proxies:
            blank = Rows(blanked(rows.matrix, features, left), rows.labels)
            yield name, "without " + ", ".join(left), _fitted(run, blank, left), len(rows.labels)


def _learned(run: TrainingRun) -> Rows:
    train = run.split.train
    return Rows(run.dataset.matrix[train], run.dataset.is_fraud[train])


def _fitted(run: TrainingRun, rows: Rows, left: list[str] | None = None) -> NDArray[np.float32]:
    """Fit the chosen settings, and return the margins of the test: float32[n]."""
    fitted = FITTERS[run.fitter](rows, None, run.choice.params, run.seed, run.progress)
    matrix = run.dataset.matrix[run.panel.rows]
    if left:
        matrix = blanked(matrix, run.dataset.features, left)
    return Forest.from_xgboost_json(fitted.model_json).margins(matrix)


def _judged(
    run: TrainingRun, facet: Facet, sides: NDArray[np.int64], name: str, words: str,
    margins: NDArray[np.float32], claims: int, most: int,
) -> Mitigated:  # fmt: skip
    """Judge margins of the test: the `most` highest count as referred, the same for all."""
    panel = run.panel
    referred = np.zeros(len(margins), np.bool_)
    referred[np.lexsort((np.arange(len(margins)), -margins))[:most]] = True
    table = count_table(sides, None, panel.labels, referred)
    quality = [
        None if np.isnan(each) else float(each) for each in Measured(panel, margins).metrics()
    ]
    return Mitigated(
        facet=facet.name,
        name=name,
        words=words,
        claims=claims,
        average_precision=quality[0],
        auc=quality[1],
        precision=quality[2],
        recall=quality[3],
        measures=measures(COMPARED, table, run.seed),
    )


def _facets(run: TrainingRun) -> list[Facet]:
    """Return the facets that the data set has the features for; notes the others once."""
    marked = run.domain.facets if run.domain else ()
    known, found = set(run.dataset.features), list[Facet]()
    for facet in marked:
        missing = sorted(set(facet.features) - known)
        if not missing:
            found.append(facet)
            continue
        note = f"facet {facet.name}: the stored claims have no feature {missing[0]}"
        if note not in run.notes:
            run.notes.append(note)
    return found
