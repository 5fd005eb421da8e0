"""Rows for the offline store: raw records, decisions with their vectors, labels, profiles, drift.

A batch only hands over the sources of its rows (`BatchRows`). `PendingRows` turns batches into
columns a few thousand records at a time: while the records are still in the processor's cache, and
so that a small batch doesn't pay for columns of its own. Texts that repeat are dictionary arrays,
in memory and in the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.batches.accepted import AcceptedEvents, AcceptedRecord, DecodedBatch
from claimtrace.batches.records import Records
from claimtrace.buffers.byte_strings import ByteStrings, bounds_of
from featurestore.definitions.domain import Domain
from featurestore.fields.id_rules import id_rules
from featurestore.offline.tables import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES, SCHEMAS, rows_of
from monitoring.layers.records import DriftRecord

from ..decisions.outcomes import BANDS, OUTCOMES
from ..decisions.rolled_out import OtherModels
from ..decisions.sealer import Frame, Sealed, Verdicts
from .arrow_columns import (
    byte_strings,
    concatenated,
    dictionary_texts,
    fixed_texts,
    float_lists,
    picked_numbers,
    table_of,
    text_lists,
    topic_partitions,
)
from .rollout_columns import rollout_columns

_RECORDS_PER_TABLE: Final = 8000
"""Enough to spread the fixed cost of about forty columns, and few enough to stay in the cache."""


class DecisionColumns(NamedTuple):
    """The decisions of a batch in columns, with the other values of their offline rows.

    `policy_keys` are empty and `amounts_cents` float64[n] NaN where a claim has none.
    """

    frame: Frame
    claims: AcceptedEvents
    matrix: NDArray[np.float64]
    verdicts: Verdicts
    sealed: Sealed
    policy_keys: ByteStrings
    amounts_cents: NDArray[np.float64]
    others: OtherModels | None = None


class BatchRows(NamedTuple):
    """The sources of a batch's rows: its records, raw and decoded, decisions, labels, changes."""

    domain: Domain
    records: Records
    decoded: DecodedBatch
    decided: DecisionColumns | None
    labels: AcceptedEvents
    changes: Mapping[str, Sequence[AcceptedRecord]]
    drift: Sequence[DriftRecord]
    edition: int

    def tables(self) -> list[str]:
        """List the tables that get rows."""
        parts = {EVENTS: self.records, DECISIONS: self.decided, LABELS: self.labels,
                 PROFILES: self.changes, DRIFT: self.drift}  # fmt: skip
        return [table for table, part in parts.items() if part]


class PendingRows:
    """The rows of one table that wait for the next append, in order."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._batches: list[BatchRows] = []
        self._records = 0
        self._built: list[pa.Table] = []

    def add(self, batch: BatchRows) -> None:
        """Add a batch; every `_RECORDS_PER_TABLE` records its rows are built."""
        self._batches.append(batch)
        self._records += len(batch.records)
        if self._records >= _RECORDS_PER_TABLE:
            self._build()

    def rows(self) -> pa.Table:
        """Return all rows as one table, which may be asked for again."""
        self._build()
        # each build has dictionaries of its own: make one for each column
        return pa.concat_tables(self._built).unify_dictionaries()

    def _build(self) -> None:
        if self._batches:
            self._built.append(build(self._table, self._batches))
        self._batches, self._records = [], 0


def build(table: str, batches: Sequence[BatchRows]) -> pa.Table:
    """Build the rows of some batches for one table, in order; texts may be dictionary arrays."""
    if table == EVENTS:
        return event_rows(
            [batch.records for batch in batches], [batch.decoded for batch in batches]
        )
    if table == DECISIONS:
        return decision_rows([batch.decided for batch in batches if batch.decided is not None])
    if table == DRIFT:
        return drift_rows([record for batch in batches for record in batch.drift])
    domain = batches[0].domain
    if table == LABELS:
        return label_rows(domain, [batch.labels for batch in batches])
    return pa.concat_tables(
        [profile_rows(domain, batch.changes, batch.edition) for batch in batches]
    )


def event_rows(parts: Sequence[Records], decoded: Sequence[DecodedBatch]) -> pa.Table:
    """Build one row for each record as it was on the log, refused ones included.

    Args:
        parts: the records of each batch.
        decoded: the same records decoded.
    """
    rows = sum(map(len, parts))
    columns = topic_partitions(parts) | {
        "key": byte_strings([part.keys for part in parts]),
        "value": byte_strings([part.values for part in parts]),
        "log_time_ms": np.concatenate([part.log_times_ms for part in parts]),
        "event_id": concatenated(each.facts.event_ids for each in decoded),
        "event_time_ms": np.concatenate([each.facts.event_times_ms for each in decoded]),
        "accepted": np.ones(rows, np.bool_),
        "reason": dictionary_texts([None], np.zeros(rows, np.int64)),
    }
    # the columns above hold the accepted events only, which usually are all
    if any(each.refused for each in decoded):
        columns |= _with_refused(parts, decoded, columns)
    return table_of(SCHEMAS[EVENTS], columns)


def _with_refused(
    parts: Sequence[Records], decoded: Sequence[DecodedBatch], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the columns in which refused records and tombstones have other values, or null."""
    starts = bounds_of([len(part) for part in parts])
    # `starts` has one element more, the total
    at = np.concatenate(
        [start + each.accepted for start, each in zip(starts, decoded, strict=False)]
    )
    is_accepted = np.zeros(starts[-1], np.bool_)
    is_accepted[at] = True
    ids, times = np.full(starts[-1], None, object), np.zeros(starts[-1], np.int64)
    ids[at], times[at] = columns["event_id"], columns["event_time_ms"]
    reasons: list[str | None] = [None] * len(ids)
    for start, each in zip(starts.tolist(), decoded, strict=False):
        for i, refusal in each.refused.items():
            reasons[start + i] = refusal.reason if refusal is not None else None
    return {
        "event_id": ids,
        "event_time_ms": pa.array(times, mask=~is_accepted),
        "accepted": is_accepted,
        "reason": dictionary_texts(reasons),
    }


def decision_rows(parts: Sequence[DecisionColumns]) -> pa.Table:
    """Build one row for each accepted claim, with its served vector."""
    records = [part.claims.records for part in parts]
    log_times = np.concatenate([each.log_times_ms for each in records])
    amounts = np.concatenate([part.amounts_cents for part in parts])
    verdicts, sealed = [part.verdicts for part in parts], [part.sealed for part in parts]
    columns = topic_partitions(records) | {
        "decision_id": fixed_texts(np.concatenate([each.decision_ids for each in sealed])),
        "claim_id": concatenated(part.claims.event_ids for part in parts),
        "event_time_ms": np.concatenate([part.claims.event_times_ms for part in parts]),
        "log_time_ms": log_times,
        "known_time_ms": log_times,
        "score": pa.array(np.concatenate([each.scores for each in verdicts]), from_pandas=True),
        "margin": pa.array(np.concatenate([each.margins for each in verdicts]), from_pandas=True),
        "band": dictionary_texts(BANDS, np.concatenate([each.bands for each in verdicts])),
        "outcome": dictionary_texts(OUTCOMES, np.concatenate([each.outcomes for each in verdicts])),
        "flags": text_lists(concatenated(_flags(each) for each in verdicts)),
        "rules": text_lists(concatenated(_rules(each) for each in verdicts)),
        "features": float_lists(np.concatenate([part.matrix for part in parts])),
        "feature_hash": fixed_texts(np.concatenate([each.feature_hashes for each in sealed])),
        "chain": fixed_texts(np.concatenate([each.chains for each in sealed])),
        "policy_key": byte_strings(
            [_none_if_empty(part.policy_keys) for part in parts], pa.string()
        ),
        "amount_cents": pa.array(np.nan_to_num(amounts).astype(np.int64), mask=np.isnan(amounts)),
    }
    columns |= _shared(parts)
    columns |= rollout_columns([part.others for part in parts], [len(p.claims) for p in parts])
    return table_of(SCHEMAS[DECISIONS], columns)


def _none_if_empty(keys: ByteStrings) -> ByteStrings:
    """Turn empty keys into missing ones."""
    return ByteStrings(keys.content, keys.starts, np.where(keys.sizes == 0, -1, keys.sizes))


def _flags(verdicts: Verdicts) -> list[Sequence[str]]:
    return [verdicts.flag_sets[each] for each in verdicts.flags.tolist()]


def _rules(verdicts: Verdicts) -> list[Sequence[str]]:
    names: list[Sequence[str]] = [()] * len(verdicts.scores)
    for row, hits in verdicts.rules.items():
        names[row] = [hit.rule for hit in hits]
    return names


def _shared(parts: Sequence[DecisionColumns]) -> dict[str, Any]:
    """Make the columns that are the same within a batch, under a roll-out within an arm of it."""
    frames = [
        [part.frame] if part.others is None else part.others.frames_of(part.frame) for part in parts
    ]
    # frames repeat from batch to batch: a new one comes with a new model only
    different = list(dict.fromkeys(frame for each in frames for frame in each))
    rows = np.concatenate(
        [
            np.array([different.index(frame) for frame in each])[
                0 if part.others is None else part.others.arms
            ]
            * np.ones(len(part.claims), np.int64)
            for each, part in zip(frames, parts, strict=True)
        ]
    )
    models = [frame.model for frame in different]
    return {
        "policy": dictionary_texts([frame.policy for frame in different], rows),
        "threshold": picked_numbers(pa.float64(), [frame.threshold for frame in different], rows),
        "model_name": dictionary_texts([model.name if model else None for model in models], rows),
        "model_version": picked_numbers(
            pa.int64(), [model.version if model else None for model in models], rows
        ),
        "model_digest": dictionary_texts(
            [model.digest if model else None for model in models], rows
        ),
        "definitions": dictionary_texts([frame.definitions for frame in different], rows),
        "rules_digest": dictionary_texts([frame.rules for frame in different], rows),
    }


def label_rows(domain: Domain, parts: Sequence[AcceptedEvents]) -> pa.Table:
    """Build one row for each label; `is_fraud` is null where the outcome is no verdict."""
    labels = domain.labels
    assert labels is not None
    events = [facts.event(i) for facts in parts for i in range(len(facts))]
    outcomes = [getattr(event, labels.outcome) for event in events]
    verdicts = dict.fromkeys(labels.legit, False) | dict.fromkeys(labels.fraud, True)
    records = [facts.records for facts in parts]
    log_times = np.concatenate([each.log_times_ms for each in records])
    columns = topic_partitions(records) | {
        "claim_id": [getattr(event, labels.claim) or "" for event in events],
        "event_id": concatenated(facts.event_ids for facts in parts),
        "outcome": outcomes,
        "is_fraud": [verdicts.get(outcome) for outcome in outcomes],
        "decided_at_ms": np.concatenate([facts.event_times_ms for facts in parts]),
        "known_time_ms": log_times,
        "log_time_ms": log_times,
        "source": dictionary_texts([getattr(event, labels.source) for event in events]),
    }
    return table_of(SCHEMAS[LABELS], columns)


def profile_rows(
    domain: Domain, facts: Mapping[str, Sequence[AcceptedRecord]], edition: int
) -> pa.Table:
    """Build one row for each profile change, group by group."""
    rows = []
    for group in domain.groups:
        rules = id_rules(group.entity.form, frozenset(), edition)
        for record, accepted in facts.get(group.name, ()):
            key = getattr(accepted.event, group.entity.key) or ""
            rows.append(
                {
                    "feature_group": group.name,
                    "entity_key": rules.key(key),
                    "event_time_ms": accepted.event_time_ms,
                    "write_time_ms": record.log_time_ms,
                    "is_deleted": False,
                    "values_json": msgspec.json.encode(accepted.event).decode(),
                }
            )
    return rows_of(PROFILES, rows)


def drift_rows(records: Sequence[DriftRecord]) -> pa.Table:
    """Build one row for each judged window."""
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
