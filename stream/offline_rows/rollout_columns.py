"""Columns of a decision's offline row that a roll-out fills; null without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..decisions.outcomes import OUTCOMES
from ..decisions.rolled_out import ARMS, OtherModels
from .arrow_columns import concatenated, dictionary_texts, picked_numbers


def rollout_columns(parts: Sequence[OtherModels | None], sizes: Sequence[int]) -> dict[str, Any]:
    """Make the columns `rollout_version`, `arm`, and those of the models that didn't decide.

    Args:
        parts: the other models of each batch; None: no roll-out was in force.
        sizes: the decisions of each batch.
    """
    rows = sum(sizes)
    if not any(parts):
        return {
            "rollout_version": pa.nulls(rows, pa.int64()),
            "arm": dictionary_texts([None], np.zeros(rows, np.int64)),
            "other_models": pa.nulls(rows, pa.list_(pa.string())),
            "other_scores": pa.nulls(rows, pa.list_(pa.float64())),
            "other_outcomes": pa.nulls(rows, pa.list_(pa.string())),
        }
    which = np.repeat(np.arange(len(parts)), sizes)
    versions = [None if part is None else part.rollout.version for part in parts]
    # one more than the last arm stands for none
    arms = [np.full(n, len(ARMS)) if part is None else part.arms for part, n in _each(parts, sizes)]
    return {
        "rollout_version": picked_numbers(pa.int64(), versions, which),
        "arm": dictionary_texts([*ARMS, None], np.concatenate(arms)),
        "other_models": pa.array(
            concatenated(_models(part, n) for part, n in _each(parts, sizes)),
            pa.list_(pa.string()),
        ),
        "other_scores": pa.array(
            concatenated(_scores(part, n) for part, n in _each(parts, sizes)),
            pa.list_(pa.float64()),
        ),
        "other_outcomes": pa.array(
            concatenated(_outcomes(part, n) for part, n in _each(parts, sizes)),
            pa.list_(pa.string()),
        ),
    }


def _each(
    parts: Sequence[OtherModels | None], sizes: Sequence[int]
) -> list[tuple[OtherModels | None, int]]:
    return list(zip(parts, sizes, strict=True))


def _models(part: OtherModels | None, rows: int) -> list[list[str] | None]:
    if part is None:
        return [None] * rows
    by_arm = [[f"{role} {model.label}" for role, model in arm.others] for arm in part.by_arm]
    return [by_arm[arm] for arm in part.arms.tolist()]


def _scores(part: OtherModels | None, rows: int) -> list[list[float | None] | None]:
    if part is None:
        return [None] * rows
    table = np.stack(part.scores, axis=1).tolist()
    return [[None if score != score else score for score in row] for row in table]


def _outcomes(part: OtherModels | None, rows: int) -> list[list[str] | None]:
    if part is None:
        return [None] * rows
    return [[OUTCOMES[level] for level in row] for row in np.stack(part.levels, axis=1).tolist()]
