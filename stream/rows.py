"""Rows for the offline store: the raw back-up, decisions with their vectors, labels, profiles.

A batch says what its rows are made of (`BatchRows`), and costs nothing more; the rows of all
batches since the last append are built at once (`build`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.events import Record
from claimtrace.monitoring.records import DriftRecord
from claimtrace.wire import Accepted, Refusal
from featurestore.domain import Domain
from featurestore.intake import Fact
from featurestore.keys import normal_key
from featurestore.offline import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES, SCHEMAS, rows_of

from .sealing import Frame, Sealed, Verdicts


class Decided(NamedTuple):
    """The decisions of a batch in columns, with what the offline rows have beside them."""

    frame: Frame
    claims: Sequence[Fact]
    matrix: NDArray[np.float64]
    verdicts: Verdicts
    sealed: Sealed
    policy_keys: Sequence[str]
    amounts_cents: NDArray[np.float64]


class BatchRows(NamedTuple):
    """What a batch's rows are made of: its records with their answers, decisions, and facts."""

    domain: Domain
    records: Sequence[Record]
    answers: Sequence[Accepted | Refusal | None]
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
        records = [record for batch in batches for record in batch.records]
        return event_rows(records, [answer for batch in batches for answer in batch.answers])
    if table == DECISIONS:
        decided = [batch.decided for batch in batches if batch.decided is not None]
        runs = [list(run) for _, run in groupby(decided, lambda each: each.frame)]
        return pa.concat_tables([decision_rows(_merged(run)) for run in runs])
    if table == DRIFT:
        return drift_rows([record for batch in batches for record in batch.drift])
    domain = batches[0].domain
    if table == LABELS:
        return label_rows(domain, [fact for batch in batches for fact in batch.labels])
    return pa.concat_tables([profile_rows(domain, batch.changes) for batch in batches])


def event_rows(records: Sequence[Record], answers: Sequence[Accepted | Refusal | None]) -> pa.Table:
    """Every record as it stood on the log, refused ones too."""
    schema = SCHEMAS[EVENTS]
    topics, partitions, positions, keys, values, log_times, _ = zip(*records, strict=True)
    accepted = [type(answer) is Accepted for answer in answers]
    columns: dict[str, Sequence[Any]] = {
        "topic": topics,
        "partition": partitions,
        "position": positions,
        "key": keys,
        "value": values,
        "log_time_ms": log_times,
        "accepted": accepted,
    }
    if all(accepted):
        columns["event_id"] = [a.event_id for a in answers]  # type: ignore[union-attr]
        columns["event_time_ms"] = [a.event_time_ms for a in answers]  # type: ignore[union-attr]
        columns["reason"] = pa.nulls(len(answers), pa.string())
    else:
        columns["event_id"] = [a.event_id if type(a) is Accepted else None for a in answers]
        times = [a.event_time_ms if type(a) is Accepted else None for a in answers]
        columns["event_time_ms"] = times
        columns["reason"] = [a.reason if type(a) is Refusal else None for a in answers]
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def decision_rows(decided: Decided) -> pa.Table:
    """One row an accepted claim, with its served vector."""
    frame, verdicts, sealed = decided.frame, decided.verdicts, decided.sealed
    records = [fact.record for fact in decided.claims]
    rows, width = decided.matrix.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    amounts = decided.amounts_cents
    log_times = np.array([r.log_time_ms for r in records], np.int64)
    model = frame.model
    columns: dict[str, Any] = {
        "decision_id": sealed.decision_ids,
        "claim_id": [fact.accepted.event_id for fact in decided.claims],
        "topic": [r.topic for r in records],
        "partition": [r.partition for r in records],
        "position": [r.position for r in records],
        "event_time_ms": [fact.accepted.event_time_ms for fact in decided.claims],
        "log_time_ms": log_times,
        "known_time_ms": log_times,
        "score": pa.array(verdicts.scores, from_pandas=True),
        "margin": pa.array(verdicts.margins, from_pandas=True),
        "band": verdicts.bands,
        "outcome": verdicts.outcomes,
        "flags": _lists(verdicts.flags),
        "rules": _lists([[hit.rule for hit in hits] for hits in verdicts.rules]),
        "features": pa.ListArray.from_arrays(offsets, decided.matrix.reshape(-1)),
        "feature_hash": sealed.feature_hashes,
        "chain": sealed.chains,
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


def _merged(run: Sequence[Decided]) -> Decided:
    """The decisions of several batches with one frame as those of one."""
    if len(run) == 1:
        return run[0]
    verdicts, sealed = [each.verdicts for each in run], [each.sealed for each in run]
    return Decided(
        frame=run[0].frame,
        claims=_chained(each.claims for each in run),
        matrix=np.concatenate([each.matrix for each in run]),
        verdicts=Verdicts(
            np.concatenate([each.scores for each in verdicts]),
            np.concatenate([each.margins for each in verdicts]),
            *(_chained(parts) for parts in zip(*(each[2:] for each in verdicts), strict=True)),
        ),
        sealed=Sealed(*(_chained(parts) for parts in zip(*sealed, strict=True))),
        policy_keys=_chained(each.policy_keys for each in run),
        amounts_cents=np.concatenate([each.amounts_cents for each in run]),
    )


def _chained(parts: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


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
