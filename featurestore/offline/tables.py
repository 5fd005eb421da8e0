"""The offline store's tables: names, columns and their meaning, shared by writers and readers.

Times are ms since 1970 UTC, amounts are cents. A position is the record's own place on its
partition. Columns carry no dots and no reserved words, so SQL over them needs no quotes.
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
"""A view, not a table: the decisions of the newest definitions, one named column a feature."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


def _must(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _may(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=True)


_PLACE: Final = (
    _must("topic", pa.string()),
    _must("partition", pa.int32()),
    _must("position", pa.int64()),
)

SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    # The raw back-up: every record as it stood on the log, refused ones too.
    EVENTS: pa.schema(
        [
            *_PLACE,
            _may("key", pa.binary()),
            _may("value", pa.binary()),
            _must("log_time_ms", pa.int64()),
            _may("event_id", pa.string()),
            _may("event_time_ms", pa.int64()),
            _must("accepted", pa.bool_()),
            _may("reason", pa.string()),
        ]
    ),
    # One row an accepted claim event. `features` is the vector as it was served, in the order of
    # `definitions`; missing is NaN. `policy_key` names the entity whose claims must not be split
    # over training and test. `amount_cents` is what was claimed: evaluation counts money with it.
    DECISIONS: pa.schema(
        [
            _must("decision_id", pa.string()),
            _must("claim_id", pa.string()),
            _must("policy", pa.string()),
            *_PLACE,
            _must("event_time_ms", pa.int64()),
            _must("log_time_ms", pa.int64()),
            _must("known_time_ms", pa.int64()),
            _may("score", pa.float64()),
            _may("margin", pa.float64()),
            _must("band", pa.string()),
            _must("outcome", pa.string()),
            _may("threshold", pa.float64()),
            _may("model_name", pa.string()),
            _may("model_version", pa.int64()),
            _may("model_digest", pa.string()),
            _must("definitions", pa.string()),
            _must("rules_digest", pa.string()),
            _must("flags", pa.list_(pa.string())),
            _must("rules", pa.list_(pa.string())),
            _must("features", pa.list_(pa.float64())),
            _must("feature_hash", pa.string()),
            _must("chain", pa.string()),
            _may("policy_key", pa.string()),
            _may("amount_cents", pa.int64()),
        ]
    ),
    # One row an outcome of an investigation. `is_fraud` is null where the outcome is no verdict.
    # `decided_at_ms` is its event time, `known_time_ms` when the system could know of it.
    LABELS: pa.schema(
        [
            _must("claim_id", pa.string()),
            _must("event_id", pa.string()),
            _may("outcome", pa.string()),
            _may("is_fraud", pa.bool_()),
            _must("decided_at_ms", pa.int64()),
            _must("known_time_ms", pa.int64()),
            _must("log_time_ms", pa.int64()),
            _may("source", pa.string()),
            *_PLACE,
        ]
    ),
    # Every write to a feature group, late ones too; `values_json` is one JSON object.
    PROFILES: pa.schema(
        [
            _must("feature_group", pa.string()),
            _must("entity_key", pa.string()),
            _must("event_time_ms", pa.int64()),
            _must("write_time_ms", pa.int64()),
            _must("is_deleted", pa.bool_()),
            _must("values_json", pa.string()),
        ]
    ),
    # One row a closed drift window and model; `record_json` is the record of `claims.drift`.
    DRIFT: pa.schema(
        [
            _may("model_name", pa.string()),
            _may("model_version", pa.int64()),
            _must("window_start_ms", pa.int64()),
            _must("window_end_ms", pa.int64()),
            _must("claims_count", pa.int64()),
            _must("verdict", pa.string()),
            _may("score_distance", pa.float64()),
            _may("referral_ratio", pa.float64()),
            _may("top_feature", pa.string()),
            _may("top_distance", pa.float64()),
            _must("record_json", pa.string()),
        ]
    ),
    # What `features[i]` of a decision means: one row a feature and digest.
    DEFINITIONS: pa.schema(
        [
            _must("digest", pa.string()),
            _must("domain", pa.string()),
            _must("feature_position", pa.int32()),
            _must("feature", pa.string()),
            _must("kind", pa.string()),
            _must("text", pa.string()),
        ]
    ),
}

_STATISTICS_ON: Final = frozenset(
    {"partition", "position", "event_time_ms", "log_time_ms", "known_time_ms", "decided_at_ms"}
    | {"write_time_ms", "window_start_ms"}
)


def statistics_columns(schema: pa.Schema) -> list[str]:
    """The columns whose minimum and maximum go into the table's log, for skipping files.

    Only places and times: an id or an amount in the log would outlive its erasure from the files.
    A table without any has its first column there, because Delta wants one.

    >>> statistics_columns(SCHEMAS["labels"])
    ['decided_at_ms', 'known_time_ms', 'log_time_ms', 'partition', 'position']
    """
    return [name for name in schema.names if name in _STATISTICS_ON] or schema.names[:1]


def check_name(table: str) -> str:
    """Return the name of a table when it is one: a folder and a bare SQL word.

    Raises:
        UsageError: for anything else, such as a path.
    """
    if not _NAME.match(table):
        raise UsageError("not a name of a table", where=table, hint="write small letters and _")
    return table


def conform(table: str, rows: pa.Table) -> pa.Table:
    """Rows with exactly the columns, order and types of the table; other tables pass unchanged.

    A column that is a dictionary of its type stays one: it means the same, and costs less to write.

    Raises:
        UsageError: names the columns that are missing, unknown, null, or of another type.

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
            columns.append(column if _means(column.type, field.type) else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UsageError(
                f"column {field.name} is not {field.type}: {error}", where=table
            ) from error
    fields = [field.with_type(each.type) for field, each in zip(schema, columns, strict=True)]
    whole = pa.table(columns, schema=pa.schema(fields))
    _refuse(table, "nulls in", (name for name in required if whole.column(name).null_count))
    return whole


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema whose dictionaries are what they are dictionaries of.

    >>> plain_schema(pa.schema([("band", pa.dictionary(pa.int32(), pa.string()))])).field("band")
    pyarrow.Field<band: string>
    """
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values; any other type as it is."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def definitions_rows(
    digest: str, domain: str, features: Sequence[tuple[str, str, str]]
) -> pa.Table:
    """The rows of the table `definitions`: one for each (feature, kind, text), in vector order.

    >>> definitions_rows("d1", "auto", [("claim.amount_cents", "field", "")]).num_rows
    1
    """
    rows = [
        {"digest": digest, "domain": domain, "feature_position": place}
        | {"feature": feature, "kind": kind, "text": text}
        for place, (feature, kind, text) in enumerate(features)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS[DEFINITIONS])


def rows_of(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as dictionaries, as a table of the right types; absent keys are null.

    Raises:
        UsageError: when a row doesn't fit the table.
    """
    try:
        return pa.Table.from_pylist(list(rows), schema=SCHEMAS[check_name(table)])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(f"rows don't fit: {error}", where=table) from error


def newest_digest_query() -> str:
    """SQL for the digest of the definitions that served last: by log time, then by place."""
    return (
        "SELECT definitions FROM decisions "
        "ORDER BY log_time_ms DESC, partition DESC, position DESC LIMIT 1"
    )


def vectors_query(digest: str, features: Sequence[str]) -> str:
    """SQL that shows the decisions of one definitions digest with a named column a feature.

    >>> print(vectors_query("d1", ["claim.amount"]))  # doctest: +ELLIPSIS
    SELECT * EXCLUDE (features), features[1] AS "claim.amount"
    FROM decisions WHERE definitions = 'd1'
    """
    columns = ["* EXCLUDE (features)"]
    for place, feature in enumerate(features, 1):
        columns.append(f"features[{place}] AS {quoted(feature)}")
    literal = "'" + digest.replace("'", "''") + "'"
    return f"SELECT {', '.join(columns)}\nFROM {DECISIONS} WHERE definitions = {literal}"


def quoted(name: str) -> str:
    """A name as an SQL identifier.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def _means(found: pa.DataType, wanted: pa.DataType) -> bool:
    # a dictionary whose null is a word would hide it
    return bool(plain_type(found).equals(wanted))


def _refuse(table: str, what: str, names: Iterable[str]) -> None:
    wrong = list(names)
    if wrong:
        raise UsageError(
            f"{what}: {', '.join(wrong)}", where=table, hint="see featurestore/offline/tables.py"
        )
