"""Tables of the offline store: names, columns and their meaning, shared by writers and readers.

Times are ms since 1970 UTC, amounts are cents. A position is the position (offset) of the record
itself on its topic-partition. Column names have no dots and are no reserved words, so SQL needs no
quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from claimtrace.errors import UsageError

EVENTS: Final = "events"
DECISIONS: Final = "decisions"
LABELS: Final = "labels"
PROFILES: Final = "profiles"
DRIFT: Final = "drift"
DEFINITIONS: Final = "definitions"
VECTORS: Final = "vectors"
"""A view, not a table: decisions under the newest definitions, with one column for each feature."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _nullable(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=True)


_POSITION: Final = (
    _required("topic", pa.string()),
    _required("partition", pa.int32()),
    _required("position", pa.int64()),
)

SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    # The raw back-up: every record as it was on the log, refused records too.
    EVENTS: pa.schema(
        [
            *_POSITION,
            _nullable("key", pa.binary()),
            _nullable("value", pa.binary()),
            _required("log_time_ms", pa.int64()),
            _nullable("event_id", pa.string()),
            _nullable("event_time_ms", pa.int64()),
            _required("accepted", pa.bool_()),
            _nullable("reason", pa.string()),
        ]
    ),
    # One row for each accepted claim event. `features` is the served vector, in the order of
    # `definitions`, NaN for missing. `policy_key` identifies the entity whose claims must not be
    # divided between training and test. `amount_cents` is the amount claimed, with which
    # evaluation computes money. The columns from `rollout_version` on are null where no roll-out
    # was in force; `other_models` are those that didn't decide, each with its role before it.
    DECISIONS: pa.schema(
        [
            _required("decision_id", pa.string()),
            _required("claim_id", pa.string()),
            _required("policy", pa.string()),
            *_POSITION,
            _required("event_time_ms", pa.int64()),
            _required("log_time_ms", pa.int64()),
            _required("known_time_ms", pa.int64()),
            _nullable("score", pa.float64()),
            _nullable("margin", pa.float64()),
            _required("band", pa.string()),
            _required("outcome", pa.string()),
            _nullable("threshold", pa.float64()),
            _nullable("model_name", pa.string()),
            _nullable("model_version", pa.int64()),
            _nullable("model_digest", pa.string()),
            _required("definitions", pa.string()),
            _required("rules_digest", pa.string()),
            _required("flags", pa.list_(pa.string())),
            _required("rules", pa.list_(pa.string())),
            _required("features", pa.list_(pa.float64())),
            _required("feature_hash", pa.string()),
            _required("chain", pa.string()),
            _nullable("policy_key", pa.string()),
            _nullable("amount_cents", pa.int64()),
            _nullable("rollout_version", pa.int64()),
            _nullable("arm", pa.string()),
            _nullable("other_models", pa.list_(pa.string())),
            _nullable("other_scores", pa.list_(pa.float64())),
            _nullable("other_outcomes", pa.list_(pa.string())),
        ]
    ),
    # One row for each outcome of an investigation. `is_fraud` is null if the outcome is neither
    # fraud nor legit. `decided_at_ms` is the event time, `known_time_ms` the time from which the
    # system could know the outcome.
    LABELS: pa.schema(
        [
            _required("claim_id", pa.string()),
            _required("event_id", pa.string()),
            _nullable("outcome", pa.string()),
            _nullable("is_fraud", pa.bool_()),
            _required("decided_at_ms", pa.int64()),
            _required("known_time_ms", pa.int64()),
            _required("log_time_ms", pa.int64()),
            _nullable("source", pa.string()),
            *_POSITION,
        ]
    ),
    # One row for each write to a feature group, late writes too; `values_json` is a JSON object.
    PROFILES: pa.schema(
        [
            _required("feature_group", pa.string()),
            _required("entity_key", pa.string()),
            _required("event_time_ms", pa.int64()),
            _required("write_time_ms", pa.int64()),
            _required("is_deleted", pa.bool_()),
            _required("values_json", pa.string()),
        ]
    ),
    # One row for each closed drift window and model; `record_json` is its record on `claims.drift`.
    DRIFT: pa.schema(
        [
            _nullable("model_name", pa.string()),
            _nullable("model_version", pa.int64()),
            _required("window_start_ms", pa.int64()),
            _required("window_end_ms", pa.int64()),
            _required("claims_count", pa.int64()),
            _required("verdict", pa.string()),
            _nullable("score_distance", pa.float64()),
            _nullable("referral_ratio", pa.float64()),
            _nullable("top_feature", pa.string()),
            _nullable("top_distance", pa.float64()),
            _required("record_json", pa.string()),
        ]
    ),
    # The meaning of `features[i]` of a decision: one row for each digest and feature.
    DEFINITIONS: pa.schema(
        [
            _required("digest", pa.string()),
            _required("domain", pa.string()),
            _required("feature_position", pa.int32()),
            _required("feature", pa.string()),
            _required("kind", pa.string()),
            _required("text", pa.string()),
        ]
    ),
}

_STATISTICS_ON: Final = frozenset(
    {"partition", "position", "event_time_ms", "log_time_ms", "known_time_ms", "decided_at_ms"}
    | {"write_time_ms", "window_start_ms"}
)


def statistics_columns(schema: pa.Schema) -> list[str]:
    """Return the columns whose minimum and maximum go into Delta's log, to skip files in queries.

    Only partitions, positions and times: an id or an amount in the log would remain there after its
    rows were erased from the files. A table without such a column gets its first column, because
    Delta needs at least one.

    >>> statistics_columns(SCHEMAS["labels"])
    ['decided_at_ms', 'known_time_ms', 'log_time_ms', 'partition', 'position']
    """
    return [name for name in schema.names if name in _STATISTICS_ON] or schema.names[:1]


def check_name(table: str) -> str:
    """Return a table's name if it is valid both as a folder name and as an unquoted SQL name.

    Raises:
        UsageError: the name is not valid, for example a path.
    """
    if not _NAME.match(table):
        raise UsageError(
            "not a name of a table", where=table, hint="use lower-case letters, digits and _"
        )
    return table


def conform(table: str, rows: pa.Table) -> pa.Table:
    """Return rows with exactly the columns, order and types of a table.

    A dictionary-encoded column stays dictionary-encoded: it has the same values and costs less to
    write. Rows of a table that isn't in `SCHEMAS` are returned unchanged.

    Raises:
        UsageError: columns are missing, unknown, null, or of another type; the message names them.

    >>> conform("labels", rows_of("labels", [])).num_rows
    0
    """
    schema = SCHEMAS.get(check_name(table))
    if schema is None:
        return rows
    required = [field.name for field in schema if not field.nullable]
    _refuse(table, "missing columns", (name for name in required if name not in rows.column_names))
    _refuse(
        table, "unknown columns", (name for name in rows.column_names if name not in schema.names)
    )
    columns = []
    for field in schema:
        if field.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows.column(field.name)
        try:
            columns.append(
                column if _has_type(column.type, field.type) else column.cast(field.type)
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UsageError(
                f"column {field.name} is not {field.type}: {error}", where=table
            ) from error
    fields = [field.with_type(each.type) for field, each in zip(schema, columns, strict=True)]
    whole = pa.table(columns, schema=pa.schema(fields))
    _refuse(table, "nulls in", (name for name in required if whole.column(name).null_count))
    return whole


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with dictionary types replaced by the types of their values.

    >>> plain_schema(pa.schema([("band", pa.dictionary(pa.int32(), pa.string()))])).field("band")
    pyarrow.Field<band: string>
    """
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the value type of a dictionary type; any other type unchanged."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def definitions_rows(
    digest: str, domain: str, features: Sequence[tuple[str, str, str]]
) -> pa.Table:
    """Return rows of the table `definitions`, one for each (feature, kind, text) in vector order.

    >>> definitions_rows("d1", "auto", [("claim.amount_cents", "field", "")]).num_rows
    1
    """
    rows = [
        {"digest": digest, "domain": domain, "feature_position": index}
        | {"feature": feature, "kind": kind, "text": text}
        for index, (feature, kind, text) in enumerate(features)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS[DEFINITIONS])


def rows_of(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows that are given as dictionaries as an Arrow table; absent keys become null.

    Raises:
        UsageError: a row doesn't fit the table's schema.
    """
    try:
        return pa.Table.from_pylist(list(rows), schema=SCHEMAS[check_name(table)])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(f"rows don't fit: {error}", where=table) from error


def newest_digest_query() -> str:
    """Return SQL for the definitions digest of the last decision by log time and position."""
    return (
        "SELECT definitions FROM decisions "
        "ORDER BY log_time_ms DESC, partition DESC, position DESC LIMIT 1"
    )


def vectors_query(digest: str, features: Sequence[str]) -> str:
    """Return SQL for the decisions of one definitions digest, with a named column a feature.

    >>> print(vectors_query("d1", ["claim.amount"]))  # doctest: +ELLIPSIS
    SELECT * EXCLUDE (features), features[1] AS "claim.amount"
    FROM decisions WHERE definitions = 'd1'
    """
    columns = ["* EXCLUDE (features)"]
    for index, feature in enumerate(features, 1):
        columns.append(f"features[{index}] AS {quoted(feature)}")
    literal = "'" + digest.replace("'", "''") + "'"
    return f"SELECT {', '.join(columns)}\nFROM {DECISIONS} WHERE definitions = {literal}"


def quoted(name: str) -> str:
    """Quote a name as an SQL identifier.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def _has_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    # a null among a dictionary's values, instead of its indices, would escape the check for nulls
    return bool(plain_type(found).equals(wanted))


def _refuse(table: str, what: str, names: Iterable[str]) -> None:
    wrong = list(names)
    if wrong:
        raise UsageError(
            f"{what}: {', '.join(wrong)}", where=table, hint="see featurestore/offline/tables.py"
        )
