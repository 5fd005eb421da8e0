"""The parts of decisions that a roll-out adds: arms, and the verdicts of the other models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from claimtrace.decisions import ModelRef, RolloutRef

from .frame import Frame
from .outcomes import OUTCOMES
from .text_kernel import Texts

ARMS: Final = ("champion", "canary")
"""By number of the arm: 0, 1."""

_encode = msgspec.json.Encoder().encode


class Arm(NamedTuple):
    """The model of an arm, its thresholds, and the roles and models beside it.

    `threshold` is the least probability for referral, `review_threshold` that for review.
    """

    model: ModelRef
    threshold: float
    review_threshold: float
    others: tuple[tuple[str, ModelRef], ...]


class OtherModels(NamedTuple):
    """The models that didn't decide on some claims, a row each.

    `arms` int64[n] are indexes of `by_arm`; `scores` float64[n] (NaN for none) and `levels`
    int64[n] (of outcomes, after rules) are of each other model, in the order of `Arm.others`.
    """

    rollout: RolloutRef
    by_arm: tuple[Arm, ...]
    arms: NDArray[np.int64]
    scores: Sequence[NDArray[np.float64]]
    levels: Sequence[NDArray[np.int64]]

    def frames_of(self, frame: Frame) -> list[Frame]:
        """Return the frame of each arm."""
        return [
            frame._replace(
                model=arm.model,
                threshold=arm.threshold,
                review_threshold=UNSET if frame.review_threshold is UNSET else arm.review_threshold,
            )
            for arm in self.by_arm
        ]


def others_texts(
    others: OtherModels,
    heads: Sequence[str],
    flags: NDArray[np.int64],
    flag_sets: Sequence[tuple[str, ...]],
    texts: Texts,
) -> list[NDArray[np.int64]]:
    """Make the variants before, between and behind the scores of the other models.

    Args:
        others: the other models.
        heads: by arm the text before the first of them.
        flags: int64[n], indexes of `flag_sets`.
        flag_sets: the flags' names.
        texts: gets the new texts.
    """
    arms, count = others.arms, len(others.scores)
    first = [
        texts.number(f"{head}{_beginning(*arm.others[0])}".encode())
        for head, arm in zip(heads, others.by_arm, strict=True)
    ]
    variants = [np.array(first, np.int64)[arms]]
    for i in range(count - 1):
        between = [
            [
                texts.number(f"{_end(outcome)},{_beginning(*arm.others[i + 1])}".encode())
                for outcome in OUTCOMES
            ]
            for arm in others.by_arm
        ]
        variants.append(np.array(between, np.int64)[arms, others.levels[i]])
    rollout = _json(others.rollout)
    last = [
        [
            [
                texts.number(
                    f'{_end(outcome)}],"flags":{_json(names)},"arm":"{arm}","rollout":{rollout}'
                    .encode()
                )
                for names in flag_sets
            ]
            for outcome in OUTCOMES
        ]
        for arm in ARMS[: len(others.by_arm)]
    ]  # fmt: skip
    variants.append(np.array(last, np.int64)[arms, others.levels[-1], flags])
    return variants


def _beginning(role: str, model: ModelRef) -> str:
    return f'{{"role":{_json(role)},"model":{_json(model)},"score":'


def _end(outcome: str) -> str:
    return f',"outcome":"{outcome}"}}'


def _json(value: object) -> str:
    return _encode(value).decode()
