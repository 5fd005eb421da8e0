"""The backlog: rows in columns that wait for their time of arrival on the log."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]


class Backlog:
    """Rows with columns `log_ms` and `number`, taken in the order of (log_ms, number).

    The order depends on the rows alone, not on how often and up to which time `take` is called.

    >>> backlog = Backlog()
    >>> backlog.add({"log_ms": np.array([30, 10]), "number": np.array([1, 2])})
    >>> backlog.take(20)["number"].tolist(), backlog.take(20)["number"].tolist(), len(backlog)
    ([2], [], 1)
    """

    def __init__(self) -> None:
        self._waiting: list[Columns] = []

    def __len__(self) -> int:
        return sum(len(columns["log_ms"]) for columns in self._waiting)

    def add(self, columns: Columns) -> None:
        """Add rows, as columns of one length."""
        self._waiting.append(columns)

    def take(self, until_ms: int | None) -> Columns:
        """Remove and return the rows that arrive before `until_ms` (None: all rows), sorted."""
        if not self._waiting:
            return {"log_ms": np.zeros(0, np.int64), "number": np.zeros(0, np.int64)}
        names = list(self._waiting[0])
        held = {name: np.concatenate([each[name] for each in self._waiting]) for name in names}
        due = np.ones(len(held["log_ms"]), bool)
        if until_ms is not None:
            due = held["log_ms"] < until_ms
        rows = np.flatnonzero(due)
        rows = rows[np.lexsort((held["number"][rows], held["log_ms"][rows]))]
        self._waiting = [{name: held[name][~due] for name in names}]
        return {name: held[name][rows] for name in names}
