"""The step about explanations: what moves the released model's scores, and examples."""

from __future__ import annotations

import msgspec
import numpy as np

from featurestore.offline.tables import DEFINITIONS

from ..evaluation.capacity import SCORE_DECIMALS
from ..explanation.examples import choose_examples
from ..explanation.explanation import explain_examples, explain_globally
from ..run import TrainingRun


def explain(run: TrainingRun) -> None:
    """Explain the released model on many claims, and the judged one on a few it hadn't seen."""
    dataset, seed, baseline = run.dataset, run.seed, run.settings.training.explain_baseline
    run.progress("explain", 0, 2)
    found, run.drawn_claims = explain_globally(
        dataset, run.released.model_json, baseline, seed, _texts(run)
    )
    run.progress("explain", 1, 2)
    rows = run.panel.rows
    chosen = choose_examples(
        rows,
        np.round(run.probabilities[rows], SCORE_DECIMALS),
        dataset.labels[rows],
        dataset.amounts_cents[rows],
        run.thresholds["refer"].value,
    )
    examples = explain_examples(
        dataset, run.judged.model_json, chosen, run.probabilities, baseline, seed
    )
    run.explanation = msgspec.structs.replace(found, examples=examples)


def _texts(run: TrainingRun) -> dict[str, str]:
    """Return the features in words, as their definitions have them."""
    literal = "'" + run.dataset.definitions.replace("'", "''") + "'"
    found = run.offline.sql(
        f"SELECT DISTINCT feature, text FROM {DEFINITIONS} WHERE digest = {literal} "  # noqa: S608
        "ORDER BY feature"
    )
    names, texts = found["feature"].to_pylist(), found["text"].to_pylist()
    return {name: text or "" for name, text in zip(names, texts, strict=True)}
