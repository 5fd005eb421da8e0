"""Claims and labels of a batch in columns, and the touches on entities that they turn into.

A touch is one event's operation on one entity: a query, an insert or a mark (see
`featurestore.windows.aggregates`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.verdicts import NEVER_MS, verdict_of

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
    before: int = UNKNOWN
    replaces_ms: int = NEVER_MS


class _LabelTouch(NamedTuple):
    """What a label does to one kind of series, on each of its claim's entities."""

    label: Label
    kind: int
    time_ms: int
    before: int
    outcome: int
    entities: NDArray[np.int32]


def _marks(label: Label, applied_ms: int, entities: NDArray[np.int32]) -> Iterator[_LabelTouch]:
    """Yield the touch of a label on the series of claims: it marks the entries of its claim."""
    before, outcome = verdict_of(label.before), verdict_of(label.outcome)
    yield _LabelTouch(label, MARK, applied_ms, before, outcome, entities)


def _entries(label: Label, entities: NDArray[np.int32]) -> Iterator[_LabelTouch]:
    """Yield the touches of a label on the series of labels.

    The entry of the label that it replaces becomes void; its own is inserted unless it retracts.
    """
    if label.replaces_ms != NEVER_MS and label.before in (LEGIT, FRAUD):
        yield _LabelTouch(label, MARK, label.replaces_ms, label.before, VOID, entities)
    if label.outcome in (LEGIT, FRAUD):
        yield _LabelTouch(label, INSERT, label.known_ms, UNKNOWN, label.outcome, entities)


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
        # a claim that was too late has no entries to mark, and its labels count for no entity
        applied = [
            (label, time_ms, entities)
            for label, (time_ms, entities) in zip(labels, labelled, strict=True)
            if time_ms != NOT_APPLIED
        ]
        self._marks = [each for args in applied for each in _marks(*args)]
        self._entries = [each for label, _, e in applied for each in _entries(label, e)]
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
        found = self._columns.get(by_label)
        if found is None:
            touches = self._entries if by_label else self._marks
            found = self._columns[by_label] = _Columns.of(self._claims, touches)
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
    def of(cls, claims: Claims, touches: list[_LabelTouch]) -> _Columns:
        """Make the columns of a batch for one kind of series."""
        n, m = len(claims.order), len(touches)
        return cls(
            order=_extended(claims.order, [each.label.order for each in touches]),
            watermark=_extended(claims.watermark_ms, [each.label.watermark_ms for each in touches]),
            row=np.concatenate([np.arange(n), np.zeros(m, np.int64)]),
            time=_extended(claims.time_ms, [each.time_ms for each in touches]),
            before=np.array([0] * n + [each.before for each in touches], np.uint8),
            outcome=np.array([0] * n + [each.outcome for each in touches], np.uint8),
            kinds=np.array([each.kind for each in touches], np.uint8),
            entities=np.array([each.entities for each in touches], np.int64).T,
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


def _extended(column: NDArray[np.int64], more: list[int]) -> NDArray[np.int64]:
    return np.concatenate([column, np.array(more, np.int64)])


def _padded(column: NDArray[Any], more: int, fill: float) -> NDArray[Any]:
    return np.concatenate([column, np.full(more, fill, column.dtype)]) if more else column
