"""Claims and labels of a batch in columns, and the touches on entities that they turn into.

A touch is one event's operation on one entity: a query, an insert or a mark (see
`featurestore.windows.aggregates`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..definitions.verdicts import NEVER_MS, verdict_of
from ..fields.interning import Ids
from ..windows.entity_series import FRAUD, LEGIT, UNKNOWN, VOID
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
    """An accepted label that changes the outcome of a known claim.

    Args:
        order: the label's index among the events of the batch.
        known_ms: its log time.
        watermark_ms: the newest event time among claims that arrived before the label.
        row: the claim's row in the ledger.
        outcome: LEGIT, FRAUD or RETRACTED.
        before: the claim's outcome before it.
        replaces_ms: the log time of the label that it replaces, NEVER_MS: it replaces none.
    """

    order: int
    known_ms: int
    watermark_ms: int
    row: int
    outcome: int
    before: int
    replaces_ms: int


class _LabelTouches:
    """Touches of labels on one kind of series, each for all entities of its claim.

    `numbers` are order, watermark, time, outcome before, outcome, and kind. Plain lists: labels are
    half of some batches, and an object for each touch would cost more than the touch.
    """

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int, int, int, int, int]] = []
        self.entities: list[NDArray[np.int32]] = []

    def __len__(self) -> int:
        return len(self.numbers)

    def add_mark(self, label: Label, applied_ms: int, entities: NDArray[np.int32]) -> None:
        """Add the touch of a label on the series of claims: it marks the entries of its claim."""
        order, _, now_ms, _, outcome, before, _ = label
        numbers = order, now_ms, applied_ms, verdict_of(before), verdict_of(outcome), MARK
        self.numbers.append(numbers)
        self.entities.append(entities)

    def add_entry(self, label: Label, entities: NDArray[np.int32]) -> None:
        """Add the touches of a label on the series of labels.

        The entry of the label that it replaces becomes void; its own is inserted unless it
        retracts.
        """
        order, known_ms, now_ms, _, outcome, before, replaces_ms = label
        if replaces_ms != NEVER_MS and before in (LEGIT, FRAUD):
            self.numbers.append((order, now_ms, replaces_ms, before, VOID, MARK))
            self.entities.append(entities)
        if outcome in (LEGIT, FRAUD):
            self.numbers.append((order, now_ms, known_ms, UNKNOWN, outcome, INSERT))
            self.entities.append(entities)


class BatchTouches:
    """The n claims of a batch followed by its m touches of labels, in columns of n + m.

    The columns are made once a batch and shared by all series of claims, and by all of labels.

    Args:
        claims: the new claims.
        labels: the labels that were joined to claims.
        labelled: for each label the time at which its claim was applied, and the claim's entities.
    """

    def __init__(
        self,
        claims: Claims,
        labels: list[Label],
        labelled: list[tuple[int, NDArray[np.int32]]],
    ) -> None:
        self._claims = claims
        self._marks, self._entries = _LabelTouches(), _LabelTouches()
        for label, (time_ms, entities) in zip(labels, labelled, strict=True):
            # a claim that was too late has no entries to mark, and its labels count for no entity
            if time_ms != NOT_APPLIED:
                self._marks.add_mark(label, time_ms, entities)
                self._entries.add_entry(label, entities)
        self._columns: dict[bool, _Columns] = {}
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
        columns = self._columns_of(by_label=by_label)
        m = columns.kinds.size
        used = slots[:1] if by_label else slots
        entity = numbers[used]
        entity[:, self._claims.is_late] = -1
        if m:
            entity = np.concatenate([entity.reshape(-1), columns.entities[slots].reshape(-1)])
        shared = self._in_log_order(columns, len(slots), by_label=by_label)
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

    def _columns_of(self, *, by_label: bool) -> _Columns:
        """Return the columns of the claims and of the labels' touches on one kind of series."""
        touches = self._entries if by_label else self._marks
        key = by_label and len(self._marks) > 0  # without labels the two are the same
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = _Columns.of(self._claims, touches)
        return found

    def _in_log_order(self, columns: _Columns, roles: int, *, by_label: bool) -> _Sorted:
        """Return the columns shared by the touches on all entity kinds with `roles` slots."""
        found = self._sorted.get((roles, by_label))
        if found is not None:
            return found
        n, m = len(self._claims.order), columns.kinds.size
        used = 1 if by_label else roles
        # the sort is stable and the primary role comes first: a claim queries before it is inserted
        # for any of its roles, so it never sees itself
        which = np.concatenate([*[np.arange(n)] * used, *[np.arange(n, n + m)] * roles])
        sort = np.argsort(columns.order[which], kind="stable")
        which = which[sort]
        query = QUERY if by_label else QUERY | INSERT
        kinds = np.repeat(np.array([query, INSERT], np.uint8), [n, n * (used - 1)])
        made = _Sorted(
            sort=sort,
            which=which,
            order=columns.order[which],
            kind=np.concatenate([kinds, *[columns.kinds] * roles])[sort],
            time=columns.time[which],
            watermark=columns.watermark[which],
            row=columns.row[which],
            before=columns.before[which],
            outcome=columns.outcome[which],
        )
        self._sorted[roles, by_label] = made
        return made


class _Columns(NamedTuple):
    """Columns of n claims followed by m touches of labels; `kinds` [m], `entities` [slots, m]."""

    order: NDArray[np.int64]
    watermark: NDArray[np.int64]
    row: NDArray[np.int64]
    time: NDArray[np.int64]
    before: NDArray[np.uint8]
    outcome: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    entities: NDArray[np.int64]

    @classmethod
    def of(cls, claims: Claims, touches: _LabelTouches) -> _Columns:
        """Make the columns of a batch for one kind of series."""
        n, m = len(claims.order), len(touches)
        table = np.array(touches.numbers, np.int64).reshape(m, 6)
        row = np.zeros(n + m, np.int64)
        row[:n] = np.arange(n)
        marks = np.zeros((2, n + m), np.uint8)
        marks[:, n:] = table[:, 3:5].T
        return cls(
            order=np.concatenate([claims.order, table[:, 0]]),
            watermark=np.concatenate([claims.watermark_ms, table[:, 1]]),
            row=row,
            time=np.concatenate([claims.time_ms, table[:, 2]]),
            before=marks[0],
            outcome=marks[1],
            kinds=table[:, 5].astype(np.uint8),
            entities=np.array(touches.entities, np.int64).T,
        )


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


def _padded(column: NDArray[Any], more: int, fill: float) -> NDArray[Any]:
    return np.concatenate([column, np.full(more, fill, column.dtype)]) if more else column
