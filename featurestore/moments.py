"""The claims and labels of a batch in columns, and from them the touches on each kind of entity."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entities import INSERT, MARK, QUERY, Touches
from .interning import Ids
from .ledger import NOT_APPLIED


class Claim(NamedTuple):
    """An accepted claim on its way into the features; `order` is its place in the batch."""

    order: int
    time_ms: int
    watermark_ms: int
    row: int
    is_late: bool


class Label(NamedTuple):
    """An accepted label: `outcome` is FRAUD or LEGIT, `row` the claim's row in the ledger."""

    order: int
    known_ms: int
    watermark_ms: int
    row: int
    outcome: int


class Moments:
    """The claims of a batch, then its labels, in columns of n + m; made once for all series."""

    def __init__(
        self,
        claims: list[Claim],
        labels: list[Label],
        labelled: list[tuple[int, NDArray[np.int32], int]],
    ) -> None:
        n, m = len(claims), len(labels)
        self._claims, self._labels = n, m
        self._late = np.array([c.is_late for c in claims], np.bool_)
        self._order = np.array([c.order for c in claims] + [x.order for x in labels], np.int64)
        watermarks = [c.watermark_ms for c in claims] + [x.watermark_ms for x in labels]
        self._watermark = np.array(watermarks, np.int64)
        self._row = np.concatenate([np.arange(n), np.zeros(m, np.int64)])
        times = [c.time_ms for c in claims]
        applied = [time_ms for time_ms, _, _ in labelled]
        self._applied = np.array(times + applied, np.int64)
        self._known = np.array(times + [label.known_ms for label in labels], np.int64)
        self._before = np.array([0] * n + [before for _, _, before in labelled], np.uint8)
        self._outcome = np.array([0] * n + [label.outcome for label in labels], np.uint8)
        self._entities = np.array([e for _, e, _ in labelled], np.int64).T  # [slots, m]
        if m:
            self._entities[:, self._applied[n:] == NOT_APPLIED] = -1

    def touches(
        self,
        numbers: Ids,
        slots: list[int],
        values: dict[str, NDArray[np.float64]],
        distincts: dict[str, Ids],
        *,
        by_label: bool,
    ) -> Touches:
        """The operations of the batch on one entity kind.

        On the series of claims, a claim queries for its primary entity and counts for all its
        entities, and a label marks them. On the series of labels a claim only queries, and a label
        is an entry.

        Args:
            numbers: entity numbers of the claims, [all slots, n].
            slots: of this kind, the primary one first.
            values, distincts: columns of the claims, by field.
            by_label: which of the two series.
        """
        n, m = self._claims, self._labels
        roles = len(slots)
        used = slots[:1] if by_label else slots
        entity = numbers[used]
        entity[:, self._late] = -1
        if m:
            entity = np.concatenate([entity.reshape(-1), self._entities[slots].reshape(-1)])
        # the primary role comes first, so a claim never sees itself through another role
        which = np.concatenate([*[np.arange(n)] * len(used), *[np.arange(n, n + m)] * roles])
        sort = np.argsort(self._order[which], kind="stable")
        which = which[sort]
        query, other = (QUERY, INSERT) if by_label else (QUERY | INSERT, MARK)
        kinds = [(query, n), (INSERT, n * (len(used) - 1)), (other, m * roles)]
        return Touches(
            order=self._order[which],
            kind=np.repeat(*np.array(kinds, np.int64).T).astype(np.uint8)[sort],
            entity=entity.reshape(-1)[sort],
            time=(self._known if by_label else self._applied)[which],
            watermark=self._watermark[which],
            row=self._row[which],
            values={name: _padded(column, m, np.nan)[which] for name, column in values.items()},
            distincts={name: _padded(column, m, -1)[which] for name, column in distincts.items()},
            outcome_before=self._before[which],
            outcome=self._outcome[which],
        )


def _padded(column: NDArray[Any], more: int, filling: float) -> NDArray[Any]:
    return np.concatenate([column, np.full(more, filling, column.dtype)]) if more else column
