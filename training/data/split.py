"""The split of a data set: older claims for learning, the newest for the judgement.

**By time**, the default. Everything that was known when the test time began is learned from, as in
a training at that moment: a claim before the test counts if its verdict had arrived by then. A
policy may claim on both sides, as in live traffic; the evaluation shows policies that were never
seen on a line of their own.

**By policy**, for data without a usable time: a hashed share of the policies is the test, whenever
they claimed.

What a rule costs stands in `Split.lost`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import UsageError

from .dataset import Dataset
from .maturity import Maturity

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Kind = Literal["time", "group"]

_HINT: Final = "stream more history, wait for verdicts, or lower training.min_frauds"
_LEGIT_HINT: Final = (
    "where only frauds are reported, say after how long a claim without a report is legitimate: "
    "training.assume_legit_after = 30d"
)


class Lost(msgspec.Struct, frozen=True):
    """Claims with a verdict that a rule keeps from the judgement."""

    reason: str
    claims: int
    frauds: int
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The row numbers of each part, int64 and rising.

    Attributes:
        kind: how the claims were split.
        train: what the judged model learns from; all have a verdict.
        settled: those of `train` that were old enough for a fair sample when the test began:
            settings are chosen, and scores calibrated, on them.
        test: what it is judged by; all have a mature verdict, and none is in `train`.
        panel: all claims among which the test's were filed, with or without a verdict.
        released: what the released model learns from: every claim with a mature verdict.
        test_start_ms, test_end_ms: event times between which the panel was filed (half-open).
        panel_share: the share of all claims of its time that the panel holds, above 0, at most 1.
        lost: what the rules cost.
    """

    kind: Kind
    train: Ints
    settled: Ints
    test: Ints
    panel: Ints
    released: Ints
    test_start_ms: int
    test_end_ms: int
    panel_share: float
    lost: list[Lost]

    def never_seen(self, dataset: Dataset) -> Bools:
        """Return which claims of the panel have a policy without any claim in `train`: bool[n]."""
        return ~np.isin(dataset.groups[self.panel], dataset.groups[self.train])


def split_by_time(
    dataset: Dataset,
    maturity: Maturity,
    *,
    min_frauds: int,
    test_share: float = 0.25,
    test_start_ms: int | None = None,
) -> Split:
    """Split by the time at which the test begins.

    Args:
        maturity: which claims are old enough for a fair sample of verdicts.
        min_frauds: least known frauds, and least known legitimate claims, of each part.
        test_share: the newest share of the claims with a mature verdict that becomes the test.
        test_start_ms: the event time at which the test begins, in place of a share.

    Raises:
        UsageError: a part holds too few frauds or legitimate claims; the hint names remedies.
    """
    times = dataset.event_times_ms
    labelled, mature = _mature(dataset, maturity, min_frauds)
    if test_start_ms is None:
        # The split falls on a time, not on a row: claims of one millisecond stay together.
        test_start_ms = int(times[mature[row_at(dataset.weights[mature], 1 - test_share)]])
    test_end_ms = maturity.mature_until_ms + 1
    before = labelled[times[labelled] < test_start_ms]
    known = dataset.label_known_ms[before] < test_start_ms
    train = before[known]
    split = Split(
        kind="time",
        train=train,
        settled=_settled(dataset, train, test_start_ms - maturity.delay_ms, min_frauds),
        test=mature[times[mature] >= test_start_ms],
        panel=np.flatnonzero((times >= test_start_ms) & (times < test_end_ms)),
        released=mature,
        test_start_ms=test_start_ms,
        test_end_ms=test_end_ms,
        panel_share=1.0,
        lost=[
            _young(dataset, labelled, mature),
            _lost(
                dataset, before[~known], "verdict came after the test began",
                "the judged model replays a training at the time the test begins; the released "
                "model learns from them",
            ),
        ],
    )  # fmt: skip
    _check(dataset, split, min_frauds)
    return split


def split_by_policy(
    dataset: Dataset, maturity: Maturity, *, min_frauds: int, test_share: float, seed: int
) -> Split:
    """Split by policy: each one is in the test or not, by a hash of its number and the seed.

    Args:
        maturity, min_frauds: as in `split_by_time`.
        test_share: the share of the policies that become the test.

    Raises:
        UsageError: a part holds too few frauds or legitimate claims.
    """
    times = dataset.event_times_ms
    labelled, mature = _mature(dataset, maturity, min_frauds)
    inside = times <= maturity.mature_until_ms
    drawn = _is_drawn(dataset.groups, test_share, seed)
    panel = np.flatnonzero(drawn & inside)
    split = Split(
        kind="group",
        train=mature[~drawn[mature]],
        settled=mature[~drawn[mature]],
        test=mature[drawn[mature]],
        panel=panel,
        released=mature,
        test_start_ms=int(times[panel[0]]) if len(panel) else int(times[0]),
        test_end_ms=maturity.mature_until_ms + 1,
        panel_share=float(np.sum(dataset.weights[panel]) / np.sum(dataset.weights[inside])),
        lost=[_young(dataset, labelled, mature)],
    )
    _check(dataset, split, min_frauds)
    return split


def row_at(weights: NDArray[np.float64], share: float) -> int:
    """Return the place of the first row after a share of the claims that the rows stand for.

    >>> row_at(np.ones(8), 0.75), row_at(np.array([1.0, 1.0, 6.0]), 0.5)
    (6, 2)
    """
    before = np.cumsum(weights) - weights
    return int(np.searchsorted(before, share * np.sum(weights), side="right")) - 1


def _mature(dataset: Dataset, maturity: Maturity, min_frauds: int) -> tuple[Ints, Ints]:
    """Return the rows with a verdict, and those of them that are old enough."""
    labelled = np.flatnonzero(dataset.has_label)
    _check_enough(dataset, "all claims with a verdict", labelled, min_frauds)
    mature = labelled[dataset.event_times_ms[labelled] <= maturity.mature_until_ms]
    _check_enough(dataset, "claims old enough for a fair sample of verdicts", mature, min_frauds)
    return labelled, mature


def _settled(dataset: Dataset, train: Ints, until_ms: int, min_frauds: int) -> Ints:
    """Return the rows filed until a time; all rows, where that leaves too few frauds."""
    rows = train[dataset.event_times_ms[train] <= until_ms]
    return rows if np.sum(dataset.is_fraud[rows]) >= max(1, min_frauds) else train


def _is_drawn(groups: Ints, share: float, seed: int) -> Bools:
    """Return which rows belong to a policy of the test: bool[n]."""
    names, codes = np.unique(groups, return_inverse=True)
    hashed = np.array([
        int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8])
        for name in names.tolist()
    ], np.uint64)  # fmt: skip
    return np.asarray((hashed < np.uint64(share * 2.0**64))[codes], np.bool_)


def _young(dataset: Dataset, labelled: Ints, mature: Ints) -> Lost:
    return _lost(
        dataset, labelled[len(mature) :], "too young",
        "most verdicts on claims of this age are still to come, and the fast ones aren't typical",
    )  # fmt: skip


def _lost(dataset: Dataset, rows: Ints, reason: str, words: str) -> Lost:
    return Lost(reason, dataset.counted(rows), int(np.sum(dataset.is_fraud[rows])), words)


def _check(dataset: Dataset, split: Split, min_frauds: int) -> None:
    _check_enough(dataset, "claims before the test", split.train, min_frauds)
    _check_enough(dataset, "the test", split.test, min_frauds)


def _check_enough(dataset: Dataset, what: str, rows: Ints, min_frauds: int) -> None:
    """Raise a UsageError if the rows hold too few frauds or too few legitimate claims."""
    frauds = int(np.sum(dataset.is_fraud[rows]))
    legit = len(rows) - frauds
    hints = (("known frauds", frauds, _HINT), ("claims known as legitimate", legit, _LEGIT_HINT))
    for kind, found, hint in hints:
        if found < max(1, min_frauds):
            raise UsageError(
                f"{found} {kind} in {what}; {max(1, min_frauds)} are needed",
                where="training.min_frauds",
                hint=hint,
            )
