"""The handbook's transactions as events, and its 15 inputs computed again from its README.

The oracle looks at one customer or terminal at a time, in plain numpy over whole cents and seconds;
it shares nothing with the engine but the order of the columns.

"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.encoding.encoder import encode
from claimtrace.ids import partition_of
from claimtrace_examples.card_payments import CardPaid, PaymentReviewed
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.tables import DECISIONS

DAY_S = 86_400
DELAY_S = 7 * DAY_S
WINDOWS_S = (1 * DAY_S, 7 * DAY_S, 30 * DAY_S)
TRAIN_STARTS = ("2018-07-25", "2018-08-01", "2018-08-08", "2018-08-15")
_CHUNK = 100_000


def read_transactions(folder: Path) -> pd.DataFrame:
    """Return all transactions in order of arrival, with integer `second` (since 1970), `cents`."""
    frame = pd.read_parquet(folder / "transactions.parquet").sort_values(
        ["TX_DATETIME", "TRANSACTION_ID"], ignore_index=True
    )
    frame["second"] = frame.TX_DATETIME.astype("datetime64[s]").astype(np.int64)
    frame["cents"] = (frame.TX_AMOUNT * 100).round().astype(np.int64)
    assert ((frame.cents / 100 - frame.TX_AMOUNT).abs() < 1e-9).all(), "amounts are whole cents"
    return frame


def expected_features(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return float64[n, 15] in the order of the card payments domain, straight from the README."""
    columns = [
        frame.cents.to_numpy(),
        frame.TX_DATETIME.dt.day_of_week.to_numpy() >= 5,
        frame.TX_DATETIME.dt.hour.to_numpy() <= 6,
        *_of_customers(frame).T,
        *_of_terminals(frame).T,
    ]
    return np.column_stack([np.asarray(column, np.float64) for column in columns])


def _of_customers(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return count and mean amount of the customer's payments in (t - w, t], up to this one."""
    found = np.empty((len(frame), 2 * len(WINDOWS_S)))
    for rows, times, cents, _ in _histories(frame, "CUSTOMER_ID"):
        until = np.arange(1, len(rows) + 1)
        paid = np.concatenate([[0], np.cumsum(cents)])
        for w, width in enumerate(WINDOWS_S):
            first = np.searchsorted(times, times - width, side="right")
            count = until - first
            found[rows, 2 * w] = count
            found[rows, 2 * w + 1] = (paid[until] - paid[first]) / count
    return found


def _of_terminals(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return count and share of frauds of the terminal's payments in (t - 7 d - w, t - 7 d]."""
    found = np.empty((len(frame), 2 * len(WINDOWS_S)))
    for rows, times, _, frauds in _histories(frame, "TERMINAL_ID"):
        known = np.concatenate([[0], np.cumsum(frauds)])
        until = np.searchsorted(times, times - DELAY_S, side="right")
        for w, width in enumerate(WINDOWS_S):
            first = np.searchsorted(times, times - DELAY_S - width, side="right")
            count = until - first
            found[rows, 2 * w] = count
            found[rows, 2 * w + 1] = (known[until] - known[first]) / np.maximum(count, 1)
    return found


def _histories(
    frame: pd.DataFrame, key: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Return for each entity its rows in order of arrival, with their seconds, cents and frauds."""
    seconds, cents, frauds = (frame[name].to_numpy() for name in ("second", "cents", "TX_FRAUD"))
    for rows in frame.groupby(key, sort=True).indices.values():
        yield rows, seconds[rows], cents[rows], frauds[rows]


def served_vectors(store: OfflineStore, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return the vectors that were served for the payments of a frame, float64[n, F], in order."""
    rows = store.dataset(DECISIONS).to_table(columns=["claim_id", "features"]).combine_chunks()
    numbers = pd.Series(rows["claim_id"].to_pylist()).str.removeprefix("p-").astype(np.int64)
    matrix = rows["features"].combine_chunks().values.to_numpy().reshape(len(rows), -1)
    placed = np.full((len(frame), matrix.shape[1]), np.nan)
    placed[pd.Index(frame.TRANSACTION_ID).get_indexer(numbers)] = matrix
    return placed


def write_log(frame: pd.DataFrame, log: EmbeddedLog, partitions: int) -> int:
    """Append all payments in order, and the reviews of frauds; returns the number of records.

    A review arrives a millisecond before its payment is seven days old: the handbook counts it in a
    payment of that very second, and of equal times the log's reader takes claims before labels.
    Payments are keyed by customer. Ids get a letter: a bare 111 would look like a placeholder.
    """
    partition_by_customer = {
        customer: partition_of(f"C{customer}", partitions) for customer in set(frame.CUSTOMER_ID)
    }
    partition = frame.CUSTOMER_ID.map(partition_by_customer).to_numpy()
    for start in range(0, len(frame), _CHUNK):
        part = frame.iloc[start : start + _CHUNK]
        _append(log, CardPaid.topic, partition[start : start + _CHUNK], _payments(part),
                part.second.to_numpy() * 1000)  # fmt: skip
    frauds = frame.TX_FRAUD.to_numpy() == 1
    reviewed = frame[frauds]
    _append(log, PaymentReviewed.topic, partition[frauds], _reviews(reviewed),
            (reviewed.second.to_numpy() + DELAY_S) * 1000 - 1)  # fmt: skip
    return len(frame) + len(reviewed)


def _payments(part: pd.DataFrame) -> list[bytes]:
    when = part.TX_DATETIME.dt.tz_localize("UTC").dt.to_pydatetime()
    return [
        encode(
            CardPaid(
                payment_id=f"p-{number}",
                paid_at=at,
                customer_id=f"C{customer}",
                terminal_id=f"T{terminal}",
                amount_cents=cents,
                weekday=at.weekday(),
                hour=at.hour,
            )
        )
        for number, at, customer, terminal, cents in zip(
            part.TRANSACTION_ID.tolist(), list(when), part.CUSTOMER_ID.tolist(),
            part.TERMINAL_ID.tolist(), part.cents.tolist(), strict=True,
        )
    ]  # fmt: skip


def _reviews(frauds: pd.DataFrame) -> list[bytes]:
    when = (frauds.TX_DATETIME + pd.Timedelta(seconds=DELAY_S)).dt.tz_localize("UTC")
    return [
        encode(
            PaymentReviewed(
                review_id=f"r-{number}",
                reviewed_at=at,
                claim_id=f"p-{number}",
                outcome="fraud",
                source="chargeback",
            )
        )
        for number, at in zip(
            frauds.TRANSACTION_ID.tolist(), list(when.dt.to_pydatetime()), strict=True
        )
    ]


def _append(
    log: EmbeddedLog,
    topic: str,
    partition: NDArray[np.int64],
    values: list[bytes],
    times_ms: NDArray[np.int64],
) -> None:
    with log.transaction():
        for number in np.unique(partition).tolist():
            rows = np.flatnonzero(partition == number)
            log.append_columns(
                topic, number, None, [values[row] for row in rows.tolist()], times_ms[rows]
            )
