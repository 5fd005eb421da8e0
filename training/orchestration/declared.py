"""Declarations of what each training step reads and sets; order, cache and resume follow them.

A read is an attribute of `TrainingRun`, or a path into one that is given (`settings.decision`). A
step that appends to a list or adds to a dict, such as `notes`, sets it. `progress` may be used by
any step. A test runs every step and compares what it did with what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

OUTSIDE: Final = frozenset({"offline", "registry"})
"""What changes without a step: results of a step that reads it belong to one run."""

SHARED: Final = frozenset({"notes"})
"""Lists that many steps append to: they make no step wait for another."""


class Uses(NamedTuple):
    """The attributes that a step reads, and those that it sets."""

    reads: tuple[str, ...]
    sets: tuple[str, ...]

    @property
    def reads_outside(self) -> bool:
        """Whether the step reads a store that may change between two runs."""
        return not OUTSIDE.isdisjoint(self.reads)


DECLARED: Final[Mapping[str, Uses]] = {
    "collect": Uses(
        ("offline", "at_ms", "settings.training"),
        ("dataset", "maturity", "notes"),
    ),
    "contract": Uses(
        ("registry", "dataset", "limits", "domain.moving_features", "domain.features",
         "settings.training"),
        ("contract", "notes"),
    ),
    "split": Uses(
        ("registry", "dataset", "maturity", "settings.training"),
        ("champion", "split"),
    ),
    "choose": Uses(
        ("dataset", "split", "fitter", "params", "search", "domain.directions",
         "settings.training"),
        ("choice",),
    ),
    "judge": Uses(
        ("dataset", "split", "choice", "fitter", "settings.training"),
        ("judged", "margins"),
    ),
    "calibrate": Uses(
        ("dataset", "split", "margins"),
        ("calibration", "notes"),
    ),
    "evaluate": Uses(
        ("registry", "dataset", "split", "champion", "margins", "calibration", "fitter",
         "known_definitions", "settings.decision", "settings.training"),
        ("panel", "drawn", "evaluation", "champion_evaluation", "subsets", "verdict", "notes"),
    ),
    "leaks": Uses(
        ("dataset", "split", "evaluation", "settings.training"),
        ("leaks",),
    ),
    "release": Uses(
        ("dataset", "split", "choice", "margins", "fitter", "settings.training"),
        ("released", "released_calibration", "probabilities"),
    ),
    "thresholds": Uses(
        ("dataset", "split", "probabilities", "evaluation", "settings.decision"),
        ("thresholds", "notes"),
    ),
    "bias": Uses(
        ("dataset", "split", "panel", "probabilities", "thresholds", "domain.facets",
         "settings.training"),
        ("bias", "notes"),
    ),
    "mitigate": Uses(
        ("dataset", "split", "choice", "panel", "margins", "probabilities", "bias", "fitter",
         "domain.facets", "settings.training"),
        ("bias", "notes"),
    ),
    "gates": Uses(
        ("dataset", "split", "panel", "margins", "calibration", "released", "verdict", "contract",
         "leaks", "bias", "extra_gates", "settings.gates", "settings.approval",
         "settings.training"),
        ("gates", "decision"),
    ),
    "reference": Uses(
        ("dataset", "split", "probabilities", "thresholds", "settings.drift"),
        ("reference",),
    ),
    "explain": Uses(
        ("offline", "dataset", "panel", "judged", "released", "probabilities", "thresholds",
         "settings.training"),
        ("explanation", "drawn_claims"),
    ),
    "report": Uses(
        ("dataset", "maturity", "split", "choice", "judged", "evaluation", "champion_evaluation",
         "subsets", "champion", "verdict", "released", "released_calibration", "thresholds", "bias",
         "contract", "leaks", "gates", "decision",
         "reference", "explanation", "drawn_claims", "panel", "margins", "calibration",
         "probabilities", "notes", "fitter", "at_ms", "now_ms", "settings.domain",
         "settings.training"),
        ("attachments",),
    ),
    "publish": Uses(
        ("registry", "dataset", "split", "choice", "judged", "released", "released_calibration",
         "reference", "thresholds", "evaluation", "verdict", "gates", "decision", "champion",
         "attachments", "fitter",
         "known_definitions", "settings.domain", "settings.decision", "settings.drift",
         "settings.training", "now_ms", "actor", "run_id"),
        ("published",),
    ),
}  # fmt: skip
"""One line a step; the order of the steps is that of `training.pipeline.STEPS`."""
