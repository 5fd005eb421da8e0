"""The claims and labels of a batch in columns, and from them the touches on each kind of entity."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..fields.interning import Ids
from ..windows.entity_windows import INSERT, MARK, QUERY, Touches
from .event_ledger import NOT_APPLIED


class Claims(NamedTuple):
    """The new claims of a batch in columns of n, in order; `order` is a claim's place in the batch,
    `row` its row in the ledger."""

    order: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    watermark_ms: NDArray[np.int64]
    row: NDArray[np.int64]
    is_late: NDArray[np.bool_]


_NONE = np.empty(0, np.int64)
NO_CLAIMS = Claims(_NONE, _NONE, _NONE, _NONE, np.empty(0, np.bool_))


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
        claims: Claims,
        labels: list[Label],
        labelled: list[tuple[int, NDArray[np.int32], int]],
    ) -> None:
        n, m = len(claims.order), len(labels)
        self._claims, self._labels = n, m
        self._late = claims.is_late
        self._order = _joined(claims.order, [x.order for x in labels])
        self._watermark = _joined(claims.watermark_ms, [x.watermark_ms for x in labels])
        self._row = np.concatenate([np.arange(n), np.zeros(m, np.int64)])
        self._applied = _joined(claims.time_ms, [time_ms for time_ms, _, _ in labelled])
        self._known = _joined(claims.time_ms, [label.known_ms for label in labels])
        self._before = np.array([0] * n + [before for _, _, before in labelled], np.uint8)
        self._outcome = np.array([0] * n + [label.outcome for label in labels], np.uint8)
        self._entities = np.array([e for _, e, _ in labelled], np.int64).T  # [slots, m]
        if m:
            self._entities[:, self._applied[n:] == NOT_APPLIED] = -1
        self._sorted: dict[tuple[int, bool], _Sorted] = {}

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
        m = self._labels
        used = slots[:1] if by_label else slots
        entity = numbers[used]
        entity[:, self._late] = -1
        if m:
            entity = np.concatenate([entity.reshape(-1), self._entities[slots].reshape(-1)])
        order = self._in_order(len(slots), by_label=by_label)
        which = order.which
        return Touches(
            order=order.order,
            kind=order.kind,
            entity=entity.reshape(-1)[order.sort],
            time=order.time,
            watermark=order.watermark,
            row=order.row,
            values={name: _padded(column, m, np.nan)[which] for name, column in values.items()},
            distincts={name: _padded(column, m, -1)[which] for name, column in distincts.items()},
            outcome_before=order.before,
            outcome=order.outcome,
        )

    def _in_order(self, roles: int, *, by_label: bool) -> _Sorted:
        """What the touches on all entity kinds with so many roles have in common."""
        found = self._sorted.get((roles, by_label))
        if found is not None:
            return found
        n, m = self._claims, self._labels
        used = 1 if by_label else roles
        # the primary role comes first, so a claim never sees itself through another role
        which = np.concatenate([*[np.arange(n)] * used, *[np.arange(n, n + m)] * roles])
        sort = np.argsort(self._order[which], kind="stable")
        which = which[sort]
        query, other = (QUERY, INSERT) if by_label else (QUERY | INSERT, MARK)
        kinds = [(query, n), (INSERT, n * (used - 1)), (other, m * roles)]
        made = _Sorted(
            sort=sort,
            which=which,
            order=self._order[which],
            kind=np.repeat(*np.array(kinds, np.int64).T).astype(np.uint8)[sort],
            time=(self._known if by_label else self._applied)[which],
            watermark=self._watermark[which],
            row=self._row[which],
            before=self._before[which],
            outcome=self._outcome[which],
        )
        self._sorted[roles, by_label] = made
        return made


class _Sorted(NamedTuple):
    """Touches in order, without the entities that are touched: `which` claim or label each is."""

    sort: NDArray[np.int64]
    which: NDArray[np.int64]
    order: NDArray[np.int64]
    kind: NDArray[np.uint8]
    time: NDArray[np.int64]
    watermark: NDArray[np.int64]
    row: NDArray[np.int64]
    before: NDArray[np.uint8]
    outcome: NDArray[np.uint8]


def _joined(column: NDArray[np.int64], more: list[int]) -> NDArray[np.int64]:
    return np.concatenate([column, np.array(more, np.int64)])


def _padded(column: NDArray[Any], more: int, filling: float) -> NDArray[Any]:
    return np.concatenate([column, np.full(more, filling, column.dtype)]) if more else column
