"""The split of a data set: the oldest claims for fitting, then calibration, the newest for testing.

Two rules, each against a leak that was measured on published data (a policy on both sides of a
split makes an AUC of .709 look like .826):

- **Only what was known.** A claim before the test time is used for fitting or calibration only if
  its verdict was known when the test time began: the evaluation replays a training at that moment.
- **No policy in two splits.** A policy belongs to the latest split in which it has a claim; its
  older claims are left out. The test therefore keeps every claim of its time, repeat claimants
  included, as in live traffic, and daily counts stay true. This rule takes claims from the older
  splits only; `lost` counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import UsageError

from .dataset import Dataset, mature_until_ms

Ints = NDArray[np.int64]

CALIBRATION_SHARE: Final = 0.25
"""The newest share of the rows before the test time, kept from fitting for calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The row numbers of each split, int64 and rising; all these rows have a verdict.

    Attributes:
        train, calibration, test: row numbers; no claim and no policy is in two of the splits.
        calibration_start_ms, test_start_ms, test_end_ms: event times between the splits
            (half-open).
        lost: number of rows with a verdict that are in no split, by reason.
    """

    train: Ints
    calibration: Ints
    test: Ints
    calibration_start_ms: int
    test_start_ms: int
    test_end_ms: int
    lost: dict[str, int]


def split_dataset(
    dataset: Dataset, *, test_share: float, min_frauds: int, gap_ms: int = 0
) -> Split:
    """Split a data set by time and by policy, by the rules in the module's docstring.

    Args:
        test_share: the newest share of the labelled time that becomes the test, 0 .. 1.
        min_frauds: least known frauds, and least known legitimate claims, of each split.
        gap_ms: claims within this time before the test are left out, with or without a verdict;
            for labels whose time of arrival isn't logged.

    Raises:
        UsageError: a split holds too few frauds or legitimate claims; the hint names remedies.
    """
    times = dataset.event_times_ms
    labelled = np.flatnonzero(dataset.has_label)
    _check_enough(dataset, "all claims with a verdict", labelled, min_frauds)
    test_end_ms = mature_until_ms(dataset) + 1
    mature = labelled[times[labelled] < test_end_ms]
    _check_enough(dataset, "claims old enough for a fair sample of verdicts", mature, min_frauds)
    first, last = int(times[mature[0]]), int(times[mature[-1]])
    test_start_ms = last - int(test_share * (last - first))

    test = mature[times[mature] >= test_start_ms]
    before = mature[times[mature] < test_start_ms - gap_ms]
    known = before[dataset.label_known_ms[before] < test_start_ms]
    free = known[~np.isin(dataset.groups[known], dataset.groups[test])]
    _check_enough(dataset, "claims before the test time", free, min_frauds)
    # The split falls on a time, not on a row: claims of one millisecond stay together.
    first_row = min(len(free) - 1, int((1 - CALIBRATION_SHARE) * len(free)))
    calibration_start_ms = int(times[free[first_row]])
    calibration = free[times[free] >= calibration_start_ms]
    older = free[times[free] < calibration_start_ms]
    train = older[~np.isin(dataset.groups[older], dataset.groups[calibration])]

    split = Split(
        train=train,
        calibration=calibration,
        test=test,
        calibration_start_ms=calibration_start_ms,
        test_start_ms=test_start_ms,
        test_end_ms=test_end_ms,
        lost={
            "too young": len(labelled) - len(mature),
            "in the gap before the test": len(mature) - len(test) - len(before),
            "verdict came after the test began": len(before) - len(known),
            "policy claims again in a later split": len(known)
            - len(free)
            + len(older)
            - len(train),
        },
    )
    check_split(dataset, split, min_frauds)
    return split


def check_split(dataset: Dataset, split: Split, min_frauds: int) -> None:
    """Check the guarantees of a split, also of one that a step of the user's own made.

    Raises:
        UsageError: a claim or a policy is in two splits, the splits aren't in order of time, a row
            has no verdict, or a split holds too few frauds or legitimate claims.
    """
    parts = {"training": split.train, "calibration": split.calibration, "test": split.test}
    names = list(parts)
    for name, rows in parts.items():
        if not np.all(dataset.has_label[rows]):
            raise UsageError(f"the {name} split holds claims without a verdict")
        _check_enough(dataset, f"the {name} split", rows, min_frauds)
    for older, newer in pairwise(names):
        if dataset.event_times_ms[parts[older]].max() >= dataset.event_times_ms[parts[newer]].min():
            raise UsageError(f"the {older} split is not older than the {newer} split")
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            shared = np.intersect1d(dataset.groups[parts[one]], dataset.groups[parts[other]])
            if len(shared):
                raise UsageError(
                    f"{len(shared)} policies are in both the {one} and the {other} split",
                    hint="a model that was fitted on a policy seems better on it than on new ones",
                )


def _check_enough(dataset: Dataset, what: str, rows: Ints, min_frauds: int) -> None:
    """Raise a UsageError if the rows hold too few frauds or too few legitimate claims."""
    frauds = int(np.sum(dataset.is_fraud[rows]))
    legit = len(rows) - frauds
    for kind, found in (("known frauds", frauds), ("claims known as legitimate", legit)):
        if found < max(1, min_frauds):
            raise UsageError(
                f"{found} {kind} in {what}; {max(1, min_frauds)} are needed",
                where="training.min_frauds",
                hint="stream more history, wait for verdicts, or lower training.min_frauds",
            )
