"""Rows for the offline store: the raw back-up, decisions with their vectors, labels, profiles.

A batch says what its rows are made of (`BatchRows`), and costs nothing more; the rows of all
batches since the last append are built at once (`build`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.facts import Fact, Facts, Read
from claimtrace.monitoring.records import DriftRecord
from claimtrace.records import Records
from featurestore.domain import Domain
from featurestore.keys import normal_key
from featurestore.offline import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES, SCHEMAS, rows_of

from .sealing import Frame, Sealed, Verdicts


class Decided(NamedTuple):
    """The decisions of a batch in columns, with what the offline rows have beside them."""

    frame: Frame
    claims: Facts
    matrix: NDArray[np.float64]
    verdicts: Verdicts
    sealed: Sealed
    policy_keys: Sequence[str]
    amounts_cents: NDArray[np.float64]


class BatchRows(NamedTuple):
    """What a batch's rows are made of: its records with their answers, decisions, and facts."""

    domain: Domain
    records: Records
    read: Read
    decided: Decided | None
    labels: Sequence[Fact]
    changes: Mapping[str, Sequence[Fact]]
    drift: Sequence[DriftRecord]

    def tables(self) -> list[str]:
        """The tables that get rows."""
        parts = {EVENTS: self.records, DECISIONS: self.decided, LABELS: self.labels,
                 PROFILES: self.changes, DRIFT: self.drift}  # fmt: skip
        return [table for table, part in parts.items() if part]


def build(table: str, batches: Sequence[BatchRows]) -> pa.Table:
    """The rows of some batches for one table, in order."""
    if table == EVENTS:
        return pa.concat_tables([event_rows(batch.records, batch.read) for batch in batches])
    if table == DECISIONS:
        decided = [batch.decided for batch in batches if batch.decided is not None]
        return pa.concat_tables([decision_rows(each) for each in decided])
    if table == DRIFT:
        return drift_rows([record for batch in batches for record in batch.drift])
    domain = batches[0].domain
    if table == LABELS:
        return label_rows(domain, [fact for batch in batches for fact in batch.labels])
    return pa.concat_tables([profile_rows(domain, batch.changes) for batch in batches])


def event_rows(records: Records, read: Read) -> pa.Table:
    """Every record as it stood on the log, refused ones too."""
    schema, rows, facts = SCHEMAS[EVENTS], len(records), read.facts
    accepted = np.zeros(rows, np.bool_)
    accepted[read.accepted] = True
    columns: dict[str, Any] = {
        "topic": pa.array([topic for topic, _ in records.places]).take(pa.array(records.parts)),
        "partition": records.partitions(),
        "position": records.positions,
        "key": records.keys,
        "value": records.values,
        "log_time_ms": records.log_times_ms,
        "accepted": accepted,
        "event_id": facts.event_ids,
        "event_time_ms": facts.event_times_ms,
        "reason": pa.nulls(rows, pa.string()),
    }
    if read.refused:
        ids: list[str | None] = [None] * rows
        for place, event_id in zip(read.accepted.tolist(), facts.event_ids, strict=True):
            ids[place] = event_id
        times = np.zeros(rows, np.int64)
        times[read.accepted] = facts.event_times_ms
        refused = (read.refused.get(i) for i in range(rows))
        columns |= {
            "event_id": ids,
            "event_time_ms": pa.array(times, mask=~accepted),
            "reason": [answer.reason if answer else None for answer in refused],
        }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def decision_rows(decided: Decided) -> pa.Table:
    """One row an accepted claim, with its served vector."""
    frame, verdicts, sealed = decided.frame, decided.verdicts, decided.sealed
    records = decided.claims.records
    rows, width = decided.matrix.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    amounts = decided.amounts_cents
    model = frame.model
    columns: dict[str, Any] = {
        "decision_id": _texts(sealed.decision_ids),
        "claim_id": decided.claims.event_ids,
        "topic": pa.array([topic for topic, _ in records.places]).take(pa.array(records.parts)),
        "partition": records.partitions(),
        "position": records.positions,
        "event_time_ms": decided.claims.event_times_ms,
        "log_time_ms": records.log_times_ms,
        "known_time_ms": records.log_times_ms,
        "score": pa.array(verdicts.scores, from_pandas=True),
        "margin": pa.array(verdicts.margins, from_pandas=True),
        "band": verdicts.bands,
        "outcome": verdicts.outcomes,
        "flags": _lists(verdicts.flags),
        "rules": _lists([[hit.rule for hit in hits] for hits in verdicts.rules]),
        "features": pa.ListArray.from_arrays(offsets, decided.matrix.reshape(-1)),
        "feature_hash": _texts(sealed.feature_hashes),
        "chain": _texts(sealed.chains),
        "policy_key": [key or None for key in decided.policy_keys],
        "amount_cents": pa.array(np.nan_to_num(amounts).astype(np.int64), mask=np.isnan(amounts)),
    }
    shared = {
        "policy": frame.policy,
        "threshold": frame.threshold,
        "model_name": model.name if model else None,
        "model_version": model.version if model else None,
        "model_digest": model.digest if model else None,
        "definitions": frame.definitions,
        "rules_digest": frame.rules,
    }
    schema = SCHEMAS[DECISIONS]
    columns |= {
        name: pa.repeat(pa.scalar(value, schema.field(name).type), rows)
        for name, value in shared.items()
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _texts(table: NDArray[np.uint8]) -> pa.Array:
    """Texts of one length, from uint8[n, characters]."""
    rows, width = table.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    content = pa.py_buffer(np.ascontiguousarray(table))
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), content)


def _lists(rows: Sequence[Sequence[str]]) -> pa.Array:
    """Lists of texts; mostly all are empty."""
    if any(rows):
        return pa.array(rows, pa.list_(pa.string()))
    return pa.ListArray.from_arrays(np.zeros(len(rows) + 1, np.int32), pa.array([], pa.string()))


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
