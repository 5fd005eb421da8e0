"""Rows for the offline store: the raw back-up, decisions with their vectors, labels, profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.decisions import Decision
from claimtrace.events import Record
from claimtrace.monitoring.records import DriftRecord
from claimtrace.wire import Accepted, Refusal
from featurestore.domain import Domain
from featurestore.intake import Fact
from featurestore.keys import normal_key
from featurestore.offline import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES, SCHEMAS, rows_of


class Decided(NamedTuple):
    """A decision with what the offline row has beside it."""

    decision: Decision
    chain: str
    policy_key: str
    amount_cents: float


def event_rows(records: Sequence[Record], answers: Sequence[Accepted | Refusal | None]) -> pa.Table:
    """Every record as it stood on the log, refused ones too."""
    schema = SCHEMAS[EVENTS]
    accepted = [isinstance(answer, Accepted) for answer in answers]
    columns: dict[str, list[Any]] = {
        "topic": [r.topic for r in records],
        "partition": [r.partition for r in records],
        "position": [r.position for r in records],
        "key": [r.key for r in records],
        "value": [r.value for r in records],
        "log_time_ms": [r.log_time_ms for r in records],
        "event_id": [a.event_id if isinstance(a, Accepted) else None for a in answers],
        "event_time_ms": [a.event_time_ms if isinstance(a, Accepted) else None for a in answers],
        "accepted": accepted,
        "reason": [a.reason if isinstance(a, Refusal) else None for a in answers],
    }
    return pa.table(columns, schema=schema)


def decision_rows(decided: Sequence[Decided], matrix: NDArray[np.float64]) -> pa.Table:
    """One row an accepted claim, with its served vector `matrix[i]`."""
    decisions = [each.decision for each in decided]
    width = matrix.shape[1]
    offsets = np.arange(0, (len(decided) + 1) * width, width, dtype=np.int32)
    plain = {
        name: [getattr(d, name) for d in decisions]
        for name in (
            "decision_id", "claim_id", "policy", "topic", "partition", "position",
            "event_time_ms", "log_time_ms", "known_time_ms", "score", "margin", "band", "outcome",
            "threshold", "definitions", "rules_digest", "flags", "feature_hash",
        )
    }  # fmt: skip
    columns: dict[str, Any] = {
        **plain,
        "model_name": [d.model.name if d.model else None for d in decisions],
        "model_version": [d.model.version if d.model else None for d in decisions],
        "model_digest": [d.model.digest if d.model else None for d in decisions],
        "rules": [[hit.rule for hit in d.rules] for d in decisions],
        "features": pa.ListArray.from_arrays(offsets, matrix.reshape(-1)),
        "chain": [each.chain for each in decided],
        "policy_key": [each.policy_key or None for each in decided],
        "amount_cents": [
            None if each.amount_cents != each.amount_cents else int(each.amount_cents)
            for each in decided
        ],
    }
    schema = SCHEMAS[DECISIONS]
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def label_rows(domain: Domain, facts: Sequence[Fact]) -> pa.Table:
    """One row an outcome; `is_fraud` is null where the outcome is no verdict."""
    labels = domain.labels
    assert labels is not None
    rows = []
    for record, accepted in facts:
        outcome = getattr(accepted.event, labels.outcome)
        is_fraud = True if outcome in labels.fraud else False if outcome in labels.legit else None
        rows.append(
            {
                "claim_id": getattr(accepted.event, labels.claim) or "",
                "event_id": accepted.event_id,
                "outcome": outcome,
                "is_fraud": is_fraud,
                "decided_at_ms": accepted.event_time_ms,
                "known_time_ms": record.log_time_ms,
                "log_time_ms": record.log_time_ms,
                "source": getattr(accepted.event, labels.source),
                "topic": record.topic,
                "partition": record.partition,
                "position": record.position,
            }
        )
    return rows_of(LABELS, rows)


def profile_rows(domain: Domain, facts: Mapping[str, Sequence[Fact]]) -> pa.Table:
    """One row a change of a profile, by group."""
    rows = []
    for group in domain.groups:
        for record, accepted in facts.get(group.name, ()):
            key = getattr(accepted.event, group.entity.key) or ""
            rows.append(
                {
                    "feature_group": group.name,
                    "entity_key": normal_key(key, group.entity.form),
                    "event_time_ms": accepted.event_time_ms,
                    "write_time_ms": record.log_time_ms,
                    "is_deleted": False,
                    "values_json": msgspec.json.encode(accepted.event).decode(),
                }
            )
    return rows_of(PROFILES, rows)


def drift_rows(records: Sequence[DriftRecord]) -> pa.Table:
    """One row a judged window."""
    rows = []
    for record in records:
        name, _, version = record.model.rpartition("/")
        top = record.inputs.features[0] if record.inputs.features else None
        score, referral = record.score.values, record.score.referral
        rows.append(
            {
                "model_name": name,
                "model_version": int(version),
                "window_start_ms": record.window_from_ms,
                "window_end_ms": record.window_to_ms,
                "claims_count": record.n,
                "verdict": record.state,
                "score_distance": score.psi if score else None,
                "referral_ratio": referral.ratio if referral else None,
                "top_feature": top.feature if top else None,
                "top_distance": top.values.psi if top else None,
                "record_json": msgspec.json.encode(record).decode(),
            }
        )
    return rows_of(DRIFT, rows)
