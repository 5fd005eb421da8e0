"""One Parquet file for each append, with encodings chosen so that writing costs the least CPU.

Appends run between two batches of the stream, so CPU time matters, and the size of the file as far
as writing it costs CPU time too. Any reader of Parquet format 2.6 can read the files.

The name of a file ends with the SHA-256 of its bytes: so the commit that adds the file to its table
records the digest, for as long as the file is part of the table (`file_digests` compares them).
"""

from __future__ import annotations

import hashlib
import json
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from ..tables import plain_type, statistics_columns

if TYPE_CHECKING:
    from .s3_files import S3Files

ROWS_PER_GROUP: Final = 131_072
"""Rows that a reader decodes at once: 40 MB with 40 features."""

STATISTICS: Final = "delta.dataSkippingStatsColumns"
_WRITE_BYTES: Final = 1 << 20
_PLAIN_WRITER: Final = 2
"""The Delta protocol of tables without constraints, generated columns or a change feed."""

_REPEATED: Final = frozenset(
    {"topic", "partition", "reason", "policy", "band", "outcome", "threshold", "definitions"}
    | {"rules_digest", "flags.list.element", "rules.list.element", "source", "verdict", "domain"}
    | {"model_name", "model_version", "model_digest", "feature_group", "kind", "digest"}
    | {"window_start_ms", "window_end_ms"}
)
"""Columns with few distinct values: dictionary-encoded. For other columns the attempt to build a
dictionary costs time and gains nothing."""

_HASHES: Final = frozenset({"decision_id", "feature_hash", "chain"})
"""Columns of random digits: compressing them costs more than writing them uncompressed."""

_BULKY: Final = frozenset({"value"})
"""Columns with most of the bytes: Snappy takes two thirds of zstd's CPU for twice zstd's size."""


class Layout(NamedTuple):
    """Arguments of `pyarrow.parquet.ParquetWriter` for the columns, by column path."""

    dictionary: list[str]
    encoding: dict[str, str]
    compression: dict[str, str]
    compression_level: dict[str, int]


def layout_of(schema: pa.Schema) -> Layout:
    """Choose the encoding and compression of each column of a table.

    Integers are times, positions and amounts: bit-packed differences. Floats: LZ4, because zstd
    makes them 30 % smaller but takes 40 % more CPU. Free text: zstd.

    >>> layout_of(pa.schema([("position", pa.int64()), ("claim_id", pa.string())]))
    Layout(dictionary=[], encoding={'position': 'DELTA_BINARY_PACKED'},
           compression={'position': 'NONE', 'claim_id': 'ZSTD'}, compression_level={'claim_id': 1})
    """
    layout = Layout([], {}, {}, {})
    for field in schema:
        path, kind = field.name, plain_type(field.type)
        if pa.types.is_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if path in _REPEATED:
            layout.dictionary.append(path)
        elif pa.types.is_integer(kind):
            layout.encoding[path] = "DELTA_BINARY_PACKED"
        if path in _REPEATED or path in _HASHES or pa.types.is_integer(kind):
            layout.compression[path] = "NONE"
        elif path in _BULKY:
            layout.compression[path] = "SNAPPY"
        elif pa.types.is_floating(kind):
            layout.compression[path] = "LZ4"  # in Parquet's format 2 this is LZ4_RAW
        else:
            layout.compression[path] = "ZSTD"
            layout.compression_level[path] = 1
    return layout


def write_parquet(rows: pa.Table, sink: Any) -> None:
    """Write rows as one Parquet file to an open binary sink.

    Raises:
        OSError: raised by the sink.
    """
    layout = layout_of(rows.schema)
    with pq.ParquetWriter(
        sink,
        rows.schema,
        use_dictionary=layout.dictionary,
        column_encoding=layout.encoding,
        compression=layout.compression,
        compression_level=layout.compression_level,
        write_statistics=statistics_columns(rows.schema),
        store_schema=False,
    ) as writer:
        writer.write_table(rows, row_group_size=ROWS_PER_GROUP)


def add_file(files: pafs.FileSystem | S3Files, rows: pa.Table) -> AddAction:
    """Write rows as a file with a new name; returns the action that adds the file to a table.

    The rows are part of the table once the action is committed.

    Raises:
        OSError: raised by the file system.
    """
    whole = pa.BufferOutputStream()
    write_parquet(rows, whole)
    content = whole.getvalue()
    # the number makes the name new: rows may be appended twice with the same bytes
    name = f"part-00000-{uuid4()}-{hashlib.sha256(content).hexdigest()}.parquet"
    # buffered: a file system of delta-rs takes bytes, which the buffer makes of an Arrow buffer
    with files.open_output_stream(name, buffer_size=_WRITE_BYTES) as sink:
        sink.write(content)
    now_ms = time_ns() // 1_000_000
    stats = statistics_json(rows)
    return AddAction(name, content.size, {}, now_ms, data_change=True, stats=stats)


def is_ours(found: DeltaTable, schema: pa.Schema, rows: pa.Schema) -> bool:
    """Whether a table has our columns, the statistics we write, and no constraints to check.

    Only then may we write its files: delta-rs doesn't look into files that it only commits.
    """
    declared = found.metadata().configuration.get(STATISTICS)
    return (
        declared is not None
        and set(declared.split(",")) <= set(statistics_columns(rows))  # fewer in an older table
        and found.protocol().min_writer_version == _PLAIN_WRITER
        and len(schema) == len(rows)
        and all(
            (index := schema.get_field_index(f.name)) >= 0 and schema.field(index) == f
            for f in rows
        )
    )


def statistics_json(rows: pa.Table) -> str:
    """Return the statistics of a file in the form of Delta's log.

    They cover every column for which the table declares statistics: readers take a file that lacks
    the statistics of such a column for a file without any value in it, and skip it.

    >>> statistics_json(pa.table({"position": [4, 3], "value": [b"x", b"y"]}))
    '{"numRecords":2,"minValues":{"position":3},"maxValues":{"position":4},"nullCount":{"position":0}}'
    """
    least, most, nulls = {}, {}, {}
    for name in statistics_columns(rows.schema):
        column = rows.column(name)
        nulls[name] = column.null_count
        if column.null_count < len(column):
            ends = pc.min_max(column)
            least[name], most[name] = ends["min"].as_py(), ends["max"].as_py()
    found = {"numRecords": len(rows), "minValues": least, "maxValues": most, "nullCount": nulls}
    return json.dumps(found, separators=(",", ":"))
