"""The claims and labels that had arrived before a decision, as the features could count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.events import Event, time_ms
from featurestore.definitions.domain import Domain
from featurestore.definitions.verdicts import (
    FRAUD,
    LEGIT,
    NEVER_MS,
    RETRACTED,
    RETRACTION,
    replaces,
)
from featurestore.state.intake import ONE_VERDICT

from .evidence import CountedRow
from .index import EvidenceIndex
from .selection import Selection

OUTCOME_NAMES = {FRAUD: "fraud", LEGIT: "legit", RETRACTED: "retracted"}


@dataclass
class PastClaim:
    """A claim that had arrived, with its outcome as known so far.

    `row` is its row in the index, `keys` the hashes of its entities; `is_applied` is false for one
    that came too late to be counted. `outcome` is 0, or a code of
    `featurestore.definitions.verdicts`.
    """

    row: int
    event: Event
    claim_id: str
    time_ms: int
    log_ms: int
    edition: int
    keys: NDArray[np.uint64]
    is_applied: bool
    outcome: int = 0
    decided_ms: int = NEVER_MS
    known_ms: int | None = None


class PastLabel(msgspec.Struct, frozen=True):
    """A label that counts: of which claim, when it arrived, and whether it says fraud."""

    row: int
    claim: PastClaim
    known_ms: int
    is_fraud: bool


class Past(msgspec.Struct, frozen=True):
    """Everything that a claim's features can count, oldest first, and all of it by its row."""

    claims: list[PastClaim]
    labels: list[PastLabel]
    changes: list[tuple[int, Event]]


def past_of(
    index: EvidenceIndex,
    chosen: Selection,
    events: Mapping[int, Event],
    edition_of: Mapping[int, int],
    limits_ms: tuple[int, int],
) -> Past:
    """Return what had arrived.

    Args:
        index: the index.
        chosen: the records of a small replay.
        events: the decoded events by row.
        edition_of: the edition in force by row.
        limits_ms: the allowed lateness, and for how long event ids are known.
    """
    columns = index.columns
    lateness_ms, remember_ms = limits_ms
    claims = []
    for row in chosen.claims.tolist():
        event = events[row]
        at_ms = int(columns["event_times"][row])
        claims.append(
            PastClaim(
                row, event, getattr(event, index.domain.claim.id_field), at_ms,
                int(columns["log_times"][row]), edition_of[row], columns["keys"][:, row],
                at_ms >= int(columns["watermarks"][row]) - lateness_ms,
            )
        )  # fmt: skip
    newest: dict[str, list[PastClaim]] = {}
    for claim in claims:
        newest.setdefault(claim.claim_id, []).append(claim)
    labels: dict[int, PastLabel] = {}
    counted: list[PastLabel] = []
    for row in chosen.labels.tolist():
        joined = _labelled(index, newest, events[row], row, remember_ms)
        outcome = outcome_of(index.domain, events[row], edition_of[row])
        if joined is None or not outcome:
            continue
        claim = joined
        known_ms = int(columns["log_times"][row])
        label = PastLabel(row, claim, known_ms, outcome == FRAUD)
        decided_ms = int(columns["event_times"][row])
        if edition_of[row] < ONE_VERDICT:
            claim.outcome, claim.known_ms = outcome, known_ms
            counted.append(label)
        elif replaces(decided_ms, claim.decided_ms):
            claim.outcome, claim.known_ms, claim.decided_ms = outcome, known_ms, decided_ms
            labels.pop(claim.row, None)
            if outcome != RETRACTED:
                labels[claim.row] = label
    found = sorted([*counted, *labels.values()], key=lambda each: each.row)
    return Past(claims, found, [(row, events[row]) for row in chosen.changes.tolist()])


def _labelled(
    index: EvidenceIndex,
    claims: Mapping[str, Sequence[PastClaim]],
    label: Event,
    row: int,
    remember_ms: int,
) -> PastClaim | None:
    """Return the claim that a label joined: the newest of its id, if that was still known."""
    labels = index.domain.labels
    assert labels is not None
    earlier = [c for c in claims.get(getattr(label, labels.claim) or "", ()) if c.row < row]
    if not earlier:
        return None
    holder = int(index.columns["claim_holders"][row])
    now_ms = int(index.columns["watermarks"][holder])
    admitted_ms = int(index.columns["watermarks"][earlier[-1].row])
    return earlier[-1] if admitted_ms > now_ms - remember_ms else None


def outcome_of(domain: Domain, event: Event, edition: int) -> int:
    """Return the code of a label's outcome as its edition counts it; 0: it is none."""
    labels = domain.labels
    assert labels is not None
    outcome = getattr(event, labels.outcome)
    if outcome in labels.fraud:
        return FRAUD
    if outcome in labels.legit:
        return LEGIT
    return RETRACTED if outcome == RETRACTION and edition >= ONE_VERDICT else 0


def number_of(value: object) -> float | None:
    """Return a field as a number, times in ms since 1970; None for missing or text."""
    if isinstance(value, bool | int | float):
        return float(value)
    return float(time_ms(value)) if hasattr(value, "tzinfo") else None  # type: ignore[arg-type]


def row_of_claim(index: EvidenceIndex, claim: PastClaim, value: float | None = None,
                 text: str = "") -> CountedRow:  # fmt: skip
    """Return a claim as a counted row."""
    columns, row = index.columns, claim.row
    amount = number_of(getattr(claim.event, index.domain.amount)) if index.domain.amount else None
    return CountedRow(
        "claim", index.domain.claim.topic, int(columns["partitions"][row]),
        int(columns["positions"][row]), claim.time_ms, claim.log_ms, claim.claim_id, value, text,
        None if amount is None else int(amount), OUTCOME_NAMES.get(claim.outcome, ""),
        claim.known_ms,
    )  # fmt: skip
