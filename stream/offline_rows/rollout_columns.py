"""Columns of a decision's offline row that a roll-out fills; null without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..decisions.outcomes import OUTCOMES
from ..decisions.rolled_out import ARMS, OtherModels
from .arrow_columns import dictionary_texts, picked_numbers

_TEXTS, _NUMBERS = pa.list_(pa.string()), pa.list_(pa.float64())


def rollout_columns(parts: Sequence[OtherModels | None], sizes: Sequence[int]) -> dict[str, Any]:
    """Make the columns `rollout_version`, `arm`, and those of the models that didn't decide.

    Args:
        parts: the other models of each batch; None: no roll-out was in force.
        sizes: the decisions of each batch.
    """
    which = np.repeat(np.arange(len(parts)), sizes)
    versions = [None if part is None else part.rollout.version for part in parts]
    each = list(zip(parts, sizes, strict=True))
    # one more than the last arm stands for none
    arms = [np.full(n, len(ARMS)) if part is None else part.arms for part, n in each]
    return {
        "rollout_version": picked_numbers(pa.int64(), versions, which),
        "arm": dictionary_texts([*ARMS, None], np.concatenate(arms)),
        "other_models": pa.concat_arrays(
            [pa.nulls(n, _TEXTS) if part is None else _models(part) for part, n in each]
        ),
        "other_scores": pa.concat_arrays(
            [pa.nulls(n, _NUMBERS) if part is None else _scores(part) for part, n in each]
        ),
        "other_outcomes": pa.concat_arrays(
            [pa.nulls(n, _TEXTS) if part is None else _outcomes(part) for part, n in each]
        ),
    }


def _models(part: OtherModels) -> pa.Array:
    names = [f"{role} {model.label}" for arm in part.by_arm for role, model in arm.others]
    width = len(part.scores)
    picked = (part.arms[:, None] * width + np.arange(width)).reshape(-1)
    return _lists(pa.array(names).take(pa.array(picked)), width)


def _scores(part: OtherModels) -> pa.Array:
    table = np.stack(part.scores, axis=1)
    return _lists(pa.array(table.reshape(-1), from_pandas=True), table.shape[1])


def _outcomes(part: OtherModels) -> pa.Array:
    table = np.stack(part.levels, axis=1)
    return _lists(pa.array(OUTCOMES).take(pa.array(table.reshape(-1))), table.shape[1])


def _lists(values: pa.Array, width: int) -> pa.Array:
    """Make lists of `width` values each."""
    offsets = np.arange(0, len(values) + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, values)
