"""Claims and labels of a batch in columns, and the touches on entities that they turn into.

A touch is one event's operation on one entity: a query, an insert or a mark (see
`featurestore.windows.aggregates`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..fields.interning import Ids
from ..windows.entity_windows import INSERT, MARK, QUERY, Touches
from .event_ledger import NOT_APPLIED


class Claims(NamedTuple):
    """The new claims of a batch, in columns of n, in log order.

    Args:
        order: the index of each claim among the events of the batch.
        time_ms: its event time.
        watermark_ms: the newest event time among claims up to and including it.
        row: its row in the ledger.
        is_late: whether it was too late to be applied.
    """

    order: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    watermark_ms: NDArray[np.int64]
    row: NDArray[np.int64]
    is_late: NDArray[np.bool_]


_NONE = np.empty(0, np.int64)
NO_CLAIMS = Claims(_NONE, _NONE, _NONE, _NONE, np.empty(0, np.bool_))


class Label(NamedTuple):
    """An accepted label that was joined to a known claim.

    Args:
        order: the label's index among the events of the batch.
        known_ms: its log time.
        watermark_ms: the newest event time among claims that arrived before the label.
        row: the claim's row in the ledger.
        outcome: FRAUD or LEGIT.
    """

    order: int
    known_ms: int
    watermark_ms: int
    row: int
    outcome: int


class BatchTouches:
    """The n claims of a batch followed by its m labels, in columns of n + m.

    The columns are made once a batch and shared by all series.

    Args:
        claims: the new claims.
        labels: the labels that were joined to claims.
        labelled: for each label the time at which its claim was applied, the claim's entities, and
            its outcome before the label.
    """

    def __init__(
        self,
        claims: Claims,
        labels: list[Label],
        labelled: list[tuple[int, NDArray[np.int32], int]],
    ) -> None:
        n, m = len(claims.order), len(labels)
        self._claims, self._labels = n, m
        self._late = claims.is_late
        self._order = _extended(claims.order, [x.order for x in labels])
        self._watermark = _extended(claims.watermark_ms, [x.watermark_ms for x in labels])
        self._row = np.concatenate([np.arange(n), np.zeros(m, np.int64)])
        self._applied = _extended(claims.time_ms, [time_ms for time_ms, _, _ in labelled])
        self._known = _extended(claims.time_ms, [label.known_ms for label in labels])
        self._before = np.array([0] * n + [before for _, _, before in labelled], np.uint8)
        self._outcome = np.array([0] * n + [label.outcome for label in labels], np.uint8)
        self._entities = np.array([e for _, e, _ in labelled], np.int64).T  # [slots, m]
        if m:  # a claim that was too late has no entries to mark
            self._entities[:, self._applied[n:] == NOT_APPLIED] = -1
        self._sorted: dict[tuple[int, bool], _Sorted] = {}

    def of_entity(
        self,
        numbers: Ids,
        slots: list[int],
        values: dict[str, NDArray[np.float64]],
        distincts: dict[str, Ids],
        *,
        by_label: bool,
    ) -> Touches:
        """Return the touches of the batch on one kind of entity.

        On the series of claims, a claim queries its primary entity and is inserted for all its
        entities, and a label marks the entries of its claim. On the series of labels, a claim only
        queries, and a label is inserted.

        Args:
            numbers: entity numbers of the claims, [all slots, n].
            slots: the slots of this kind of entity, the primary slot first.
            values, distincts: columns of the claims, by field.
            by_label: True for the series of labels, False for the series of claims.
        """
        m = self._labels
        used = slots[:1] if by_label else slots
        entity = numbers[used]
        entity[:, self._late] = -1
        if m:
            entity = np.concatenate([entity.reshape(-1), self._entities[slots].reshape(-1)])
        shared = self._in_log_order(len(slots), by_label=by_label)
        which = shared.which
        return Touches(
            order=shared.order,
            kind=shared.kind,
            entity=entity.reshape(-1)[shared.sort],
            time=shared.time,
            watermark=shared.watermark,
            row=shared.row,
            values={name: _padded(column, m, np.nan)[which] for name, column in values.items()},
            distincts={name: _padded(column, m, -1)[which] for name, column in distincts.items()},
            outcome_before=shared.before,
            outcome=shared.outcome,
        )

    def _in_log_order(self, roles: int, *, by_label: bool) -> _Sorted:
        """Return the columns shared by the touches on all entity kinds with `roles` slots."""
        found = self._sorted.get((roles, by_label))
        if found is not None:
            return found
        n, m = self._claims, self._labels
        used = 1 if by_label else roles
        # the sort is stable and the primary role comes first: a claim queries before it is inserted
        # for any of its roles, so it never sees itself
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
    """Touches in log order without their entities; `which` is the claim or label of each touch."""

    sort: NDArray[np.int64]
    which: NDArray[np.int64]
    order: NDArray[np.int64]
    kind: NDArray[np.uint8]
    time: NDArray[np.int64]
    watermark: NDArray[np.int64]
    row: NDArray[np.int64]
    before: NDArray[np.uint8]
    outcome: NDArray[np.uint8]


def _extended(column: NDArray[np.int64], more: list[int]) -> NDArray[np.int64]:
    return np.concatenate([column, np.array(more, np.int64)])


def _padded(column: NDArray[Any], more: int, fill: float) -> NDArray[Any]:
    return np.concatenate([column, np.full(more, fill, column.dtype)]) if more else column
