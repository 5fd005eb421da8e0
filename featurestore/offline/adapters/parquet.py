"""One append as one Parquet file: every column laid out so that writing it costs least.

An append stands between two batches of the line, so CPU counts, and size as far as writing it is
CPU too. Readers see plain Parquet of format 2.6.
"""

from __future__ import annotations

import json
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from ..tables import plain_type, statistics_columns

if TYPE_CHECKING:
    from .s3_files import S3Files

ROWS_PER_GROUP: Final = 131_072
"""What a reader holds decoded at once: 40 MB of 40 features."""

_WORDS: Final = frozenset(
    {"topic", "partition", "reason", "policy", "band", "outcome", "threshold", "definitions"}
    | {"rules_digest", "flags.list.element", "rules.list.element", "source", "verdict", "domain"}
    | {"model_name", "model_version", "model_digest", "feature_group", "kind", "digest"}
    | {"window_start_ms", "window_end_ms"}
)
"""Few different values: a dictionary. Anywhere else the attempt at one costs and gains nothing."""

_HASHES: Final = frozenset({"decision_id", "feature_hash", "chain"})
"""Compressing them costs more than writing them."""


_BULKY: Final = frozenset({"value"})
"""Most of what is written: Snappy makes twice as much of it as zstd, for two thirds of the CPU."""


class Layout(NamedTuple):
    """What `pyarrow.parquet.ParquetWriter` is told of the columns, by their paths."""

    dictionary: list[str]
    encoding: dict[str, str]
    compression: dict[str, str]
    compression_level: dict[str, int]


def layout_of(schema: pa.Schema) -> Layout:
    """How the columns of a table are encoded and compressed.

    Whole numbers are times, places and amounts: differences, packed. Numbers with fractions: LZ4,
    zstd makes them 30 % smaller for 40 % more CPU. Free text: zstd.

    >>> layout_of(pa.schema([("position", pa.int64()), ("claim_id", pa.string())]))
    Layout(dictionary=[], encoding={'position': 'DELTA_BINARY_PACKED'},
           compression={'position': 'NONE', 'claim_id': 'ZSTD'}, compression_level={'claim_id': 1})
    """
    layout = Layout([], {}, {}, {})
    for field in schema:
        path, kind = field.name, plain_type(field.type)
        if pa.types.is_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if path in _WORDS:
            layout.dictionary.append(path)
        elif pa.types.is_integer(kind):
            layout.encoding[path] = "DELTA_BINARY_PACKED"
        if path in _WORDS or path in _HASHES or pa.types.is_integer(kind):
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
        OSError: as the sink.
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
    """Write rows as a file of a new name; it belongs to a table once the action is committed.

    Raises:
        OSError: as the file system.
    """
    name = f"part-00000-{uuid4()}.parquet"
    with files.open_output_stream(name) as sink:
        write_parquet(rows, sink)
        size = sink.tell()
    now_ms = time_ns() // 1_000_000
    return AddAction(name, size, {}, now_ms, data_change=True, stats=statistics_json(rows))


def statistics_json(rows: pa.Table) -> str:
    """The statistics of a file as Delta's log has them.

    Of all columns that the table says it has them of: a file whose log lacks one is taken for a
    file in which no value of that column is found.

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
