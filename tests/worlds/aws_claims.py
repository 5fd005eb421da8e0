"""The AWS example's claims and customers as events, and its published transforms to compare with.

Two draws of 5,000 policies each: draw 1 raw (`claims.csv`, `customers.csv`), draw 2 only as the
example's transforms left it (`*_preprocessed.csv`), so its categories are read back from them.

The rows have no dates. The rule: draw 1 happened in 2023, draw 2 in 2024; month, day and hour are
the row's (a day that the month doesn't have runs into the next); minute, second and millisecond are
a digest of the policy's number. A policy changes a minute before its claim, and a claim is decided
thirty days after it. Amounts are truncated to whole cents.

"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.encoding.encoder import encode
from claimtrace.events import Event, Outgoing
from claimtrace.ids import partition_of
from claimtrace_examples.auto_claims import ClaimAdjudicated, ClaimFiled, PolicyChanged
from claimtrace_examples.auto_claims.features import AWS_CLAIM, AWS_CUSTOMER

YEAR_OF_DRAW = {1: 2023, 2: 2024}
CLAIM_COLUMNS = [feature.name for feature in AWS_CLAIM]
CUSTOMER_COLUMNS = [feature.name for feature in AWS_CUSTOMER]

_CHANGED_BEFORE = timedelta(minutes=1)
_DECIDED_AFTER = timedelta(days=30)
_SEVERITIES = ("Minor", "Major", "Totaled")
_EDUCATIONS = ("Below High School", "High School", "Associate", "Bachelor", "Advanced Degree")
_LIABILITIES = ("15/30", "25/50", "30/60", "100/200")
_CATEGORIES = {
    "driver_relationship": {"self": "Self", "na": "N/A", "spouse": "Spouse", "child": "Child",
                            "other": "Other"},
    "incident_type": {"collision": "Collision", "breakin": "Break-in", "theft": "Theft"},
    "collision_type": {"front": "Front", "rear": "Rear", "side": "Side", "na": "N/A"},
    "authorities_contacted": {"police": "Police", "none": "None", "fire": "Fire",
                              "ambulance": "Ambulance"},
    "customer_gender": {"male": "Male", "female": "Female"},
    "policy_state": {state.lower(): state for state in ("CA", "WA", "AZ", "OR", "NV", "ID")},
}  # fmt: skip
"""How draw 1 writes what the transforms made a column of."""

Row = dict[str, Any]


def read_draw(folder: Path, draw: int) -> list[Row]:
    """Return the 5,000 rows of claim and customer, with raw categories; numbers stay as text."""
    if draw == 1:
        claims, customers = _read(folder / "claims.csv"), _read(folder / "customers.csv")
    else:
        claims = _to_raw(_read(folder / "claims_preprocessed.csv"))
        claims["incident_severity"] = _from_place(claims.incident_severity, _SEVERITIES)
        claims["police_report_available"] = _from_place(
            claims.police_report_available, ("No", "Yes")
        )
        customers = _to_raw(_read(folder / "customers_preprocessed.csv"))
        customers["customer_education"] = _from_place(customers.customer_education, _EDUCATIONS)
        customers["policy_liability"] = _from_place(customers.policy_liability, _LIABILITIES)
        customers["customer_zip"] = ""
    rows: list[Row] = claims.merge(customers, on="policy_id", validate="1:1").to_dict("records")
    return rows


def events_of(draw: int, row: Row) -> Iterator[tuple[datetime, Event]]:
    """Return the change of the policy, the claim and its outcome, with their times."""
    filed_at = _filed_at(draw, row)
    policy, number = f"P{row['policy_id']}", f"{draw}-{row['policy_id']}"
    changed_at, decided_at = filed_at - _CHANGED_BEFORE, filed_at + _DECIDED_AFTER
    yield changed_at, _changed(row, f"change-{number}", policy, changed_at)
    yield filed_at, _filed(row, f"claim-{number}", policy, filed_at)
    yield (
        decided_at,
        ClaimAdjudicated(
            adjudication_id=f"outcome-{number}",
            decided_at=decided_at,
            claim_id=f"claim-{number}",
            outcome="fraud" if row["fraud"] == "1" else "legit",
            source="published",
        ),
    )


def write_log(draws: dict[int, list[Row]], log: EmbeddedLog, partitions: int) -> int:
    """Append all events of the draws, by time, keyed by policy; returns their number."""
    timed = [
        (at, partition_of(row["policy_id"], partitions), event)
        for draw, rows in draws.items()
        for row in rows
        for at, event in events_of(draw, row)
    ]
    timed.sort(key=lambda each: each[0])
    log.append(
        [
            Outgoing(event.topic, partition, None, encode(event), round(at.timestamp() * 1000))
            for at, partition, event in timed
        ]
    )
    return len(timed)


def published(folder: Path, draw: int, columns: list[str]) -> dict[int, tuple[float, ...]]:
    """Return the transformed claim or customer of each policy, as the example publishes it.

    Draw 2 has files of its own. Draw 1 is in `claims_customer.csv`, where a policy has the claims
    of both draws with the customers of both: draw 1 is what is left without those of draw 2.

    """
    kind = "claims" if columns == CLAIM_COLUMNS else "customers"
    second = _tuples(pd.read_csv(folder / f"{kind}_preprocessed.csv"), columns)
    if draw == 2:
        return {policy: next(iter(rows)) for policy, rows in second.items()}
    both = _tuples(pd.read_csv(folder / "claims_customer.csv"), columns)
    left = {policy: rows - second[policy] or rows for policy, rows in both.items()}
    assert all(len(rows) == 1 for rows in left.values())
    return {policy: next(iter(rows)) for policy, rows in left.items()}


def _tuples(frame: pd.DataFrame, columns: list[str]) -> dict[int, set[tuple[float, ...]]]:
    found: dict[int, set[tuple[float, ...]]] = {}
    rows = frame[columns].astype(float).itertuples(index=False, name=None)
    for policy, row in zip(frame.policy_id.tolist(), rows, strict=True):
        found.setdefault(policy, set()).add(row)
    return found


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _to_raw(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn one-hot columns back into one column, with the categories as draw 1 writes them."""
    frame = frame.copy()
    for name, written in _CATEGORIES.items():
        hot = [column for column in frame.columns if column.startswith(f"{name}_")]
        if hot:
            value = frame[hot].astype(float).idxmax(axis=1).str.removeprefix(f"{name}_")
            frame[name] = value.map(written)
    return frame


def _from_place(column: pd.Series, values: tuple[str, ...]) -> pd.Series:
    return column.astype(float).astype(int).map(dict(enumerate(values)))


def _filed_at(draw: int, row: Row) -> datetime:
    digest = hashlib.blake2b(row["policy_id"].encode(), digest_size=8).digest()
    return datetime(YEAR_OF_DRAW[draw], int(row["incident_month"]), 1, tzinfo=UTC) + timedelta(
        days=int(row["incident_day"]) - 1,
        hours=int(row["incident_hour"]),
        milliseconds=int.from_bytes(digest, "big") % 3_600_000,
    )


def _cents(text: str) -> int:
    return int(Decimal(text) * 100)


def _filed(row: Row, claim_id: str, policy: str, filed_at: datetime) -> ClaimFiled:
    return ClaimFiled(
        claim_id=claim_id,
        filed_at=filed_at,
        policy_id=policy,
        driver_relationship=row["driver_relationship"],
        incident_type=row["incident_type"],
        collision_type=row["collision_type"],
        incident_severity=row["incident_severity"],
        authorities_contacted=row["authorities_contacted"],
        police_report_available=row["police_report_available"],
        num_vehicles_involved=int(row["num_vehicles_involved"]),
        num_injuries=int(row["num_injuries"]),
        num_witnesses=int(row["num_witnesses"]),
        injury_claim_cents=_cents(row["injury_claim"]),
        vehicle_claim_cents=_cents(row["vehicle_claim"]),
        total_claim_cents=_cents(row["total_claim_amount"]),
        incident_month=int(row["incident_month"]),
        incident_day=int(row["incident_day"]),
        incident_dow=int(row["incident_dow"]),
        incident_hour=int(row["incident_hour"]),
    )


def _changed(row: Row, change_id: str, policy: str, changed_at: datetime) -> PolicyChanged:
    return PolicyChanged(
        change_id=change_id,
        changed_at=changed_at,
        policy_id=policy,
        customer_age=int(row["customer_age"]),
        months_as_customer=int(row["months_as_customer"]),
        num_claims_past_year=int(row["num_claims_past_year"]),
        num_insurers_past_5_years=int(row["num_insurers_past_5_years"]),
        policy_state=row["policy_state"],
        policy_deductable=int(row["policy_deductable"]),
        policy_annual_premium=int(row["policy_annual_premium"]),
        policy_liability=row["policy_liability"],
        customer_zip=row["customer_zip"] or None,
        customer_gender=row["customer_gender"],
        customer_education=row["customer_education"],
        auto_year=int(row["auto_year"]),
    )
