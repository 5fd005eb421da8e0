"""One training run: what is given to its steps, and what each of them adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import ModelRef
from claimtrace.settings.schema import Settings
from featurestore.definitions.domain import Domain
from models.calibration import Calibration
from models.registry.registry import ModelRegistry
from monitoring.windows.reference import Reference

from .bias.comparison import Bias
from .checks.constraints import Constraints
from .checks.contract import Contract
from .checks.leaks import Leaks
from .data.dataset import Dataset
from .data.maturity import Maturity
from .data.split import Split
from .evaluation.capacity import Threshold
from .evaluation.evaluate import Evaluation, Panel
from .evaluation.subsets import Subset
from .explanation.explanation import DrawnClaims, Explanation
from .fitting.choice import Choice
from .fitting.fitters import Fitted, Progress
from .fitting.search import Search
from .release.gate import Verdict
from .release.gates import Decision, Gate

if TYPE_CHECKING:
    from featurestore.offline.adapters.delta import OfflineStore


@dataclass(slots=True)
class TrainingRun:
    """The inputs and results of one training run.

    The first group of attributes is given; the second is set by the steps, in their order.
    """

    offline: OfflineStore
    registry: ModelRegistry
    settings: Settings
    at_ms: int
    now_ms: int
    progress: Progress
    actor: str
    fitter: str
    params: dict[str, float | int | str]
    domain: Domain | None = None
    """The definitions of the domain, with its facets and directions; None: nothing that needs them
    is done."""
    notes: list[str] = field(default_factory=list)
    known_definitions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Digests of features by name, by the digest of the definitions that they stand in."""
    run_id: str = ""
    """The run of the pipeline; empty outside of one. A run that goes on finds the version that it
    has published by it."""

    search: Search | None = None
    """Searches settings beyond the built-in choice; None: no search."""
    limits: Constraints | None = None
    """The user's own limits for the data."""

    contract: Contract | None = None
    """What of the data breaks its limits."""
    leaks: Leaks | None = None
    """Signs that the verdict has leaked into the data."""

    dataset: Dataset = field(init=False)
    maturity: Maturity = field(init=False)
    split: Split = field(init=False)
    choice: Choice = field(init=False)
    judged: Fitted = field(init=False)
    margins: NDArray[np.float32] = field(init=False)
    """float32[n]: of the judged model for `recent_rows`, out of fold before, else NaN."""
    calibration: Calibration = field(init=False)
    """Of the judged model; fitted on claims before the test."""
    panel: Panel = field(init=False)
    drawn: NDArray[np.float64] = field(init=False)
    evaluation: Evaluation = field(init=False)
    subsets: list[Subset] = field(init=False)
    champion: ModelRef | None = field(init=False)
    champion_evaluation: Evaluation | None = field(init=False)
    verdict: Verdict = field(init=False)
    released: Fitted = field(init=False)
    released_calibration: Calibration = field(init=False)
    probabilities: NDArray[np.float64] = field(init=False)
    """float64[n]: `margins` through the released model's calibration."""
    thresholds: dict[str, Threshold] = field(init=False)
    reference: Reference = field(init=False)
    """The drift reference of the version."""
    explanation: Explanation | None = None
    drawn_claims: DrawnClaims = field(init=False)
    attachments: dict[str, bytes] = field(default_factory=dict)
    """Files of the version for people, by their names."""
    extra_gates: list[Gate] = field(default_factory=list)
    """Gates of steps that were put in before `gates`."""
    gates: list[Gate] = field(init=False)
    decision: Decision = field(init=False)
    """Whether the version takes charge at once."""
    published: ModelRef = field(init=False)

    bias: Bias | None = None
    """The bias of the judged model at the threshold for `refer`; None until it is measured."""

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return self.settings.training.seed

    @property
    def feature_digests(self) -> Mapping[str, str]:
        """Digests of the data set's features by name; empty where its definitions aren't known."""
        return self.known_definitions.get(self.dataset.definitions, {})

    @property
    def by_time(self) -> bool:
        """Whether the claims have a usable time."""
        return self.settings.training.split == "time"


Step = Callable[[TrainingRun], None]
"""A step reads the attributes that earlier steps have set, and sets its own."""
