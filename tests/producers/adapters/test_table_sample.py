"""A sample is read within limits; a hostile file is a user's error with its reason."""

from __future__ import annotations

import datetime as dt
import gzip
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimtrace.errors import UsageError
from producers.adapters.table_sample import MOST_COLUMNS, SAMPLE_ROWS, read_sample
from producers.guessing.column_facts import facts_of
from producers.guessing.table_form import TableForm


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "can't read the table"),
        ("a.csv", b"id,x\n", "no rows"),
        ("a.csv", b"id,x,id\n1,2,3\n", "a column is there twice: id"),
        ("a.csv", b"id,x\n1\n", "can't read the table"),
        ("a.csv", b"id,x\n1,\xff\xfe\n", "can't read the table"),
        ("a.csv", b"\xff\xfei\x00d\x00\n", "can't read the table"),
        ("a.csv", b",".join(b"c%d" % i for i in range(MOST_COLUMNS + 1)) + b"\n", "1,000 columns"),
        ("a.csv", b"x" * (9 << 20), "can't read the table"),
        ("a.csv.gz", b"not gzip", "can't read the table"),
        ("a.parquet", b"PAR1 and no more", "can't read the table"),
        ("a.xlsx", b"", "a .xlsx can't be read"),
        ("a", b"", "a file without suffix"),
    ],
)
def test_what_cannot_be_read_is_said(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_sample(tmp_path / name)
    assert words in refused.value.what
    assert refused.value.what.isprintable()


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UsageError):
            read_sample(path)


def test_a_sample_is_of_the_first_rows_and_its_cells_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "many.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("id,text\n" + "".join(f"{i},{'x' * 300}\n" for i in range(SAMPLE_ROWS + 50)))
    first, second = read_sample(path).columns
    assert len(first.cells) == SAMPLE_ROWS
    assert second.cells[0] == "x" * 200


def test_quoted_cells_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,"a ""b"", c"\r\n1,"two\r\nlines"\r\n2,\r\n')
    first, second = read_sample(path).columns
    assert (first.name, second.name) == ("id", 'a "b", c')
    assert second.cells == ["two\r\nlines", None]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_the_form_of_a_table_is_found(delimiter: str, tmp_path: Path) -> None:
    rows = (("Nr", "Summe", "Datum"), ("S1", '"1.129,59"', "03.01.2025"), ("S2", '"7"', ""))
    path = tmp_path / "a.csv"
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n")
    (number, total, day), form = read_sample(path)
    assert form == TableForm(delimiter, ",", ".")
    assert (number.cells, total.cells, day.cells) == (
        ["S1", "S2"], ["1129.59", "7"], ["03.01.2025", None],
    )  # fmt: skip


def test_a_point_in_one_column_leaves_commas_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1,5;1.5\n")
    (first, _), form = read_sample(path)
    assert form == TableForm(";")
    assert first.cells == ["1,5"]


def test_kinds_of_parquet(tmp_path: Path) -> None:
    when = dt.datetime(2025, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    table = pa.table({
        "ints": pa.array([1, None], pa.int64()),
        "floats": [1.5, float("nan")],
        "decimals": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "bools": [True, False],
        "times": pa.array([when, None], pa.timestamp("ns", "UTC")),
        "days": [dt.date(2025, 1, 2), None],
        "lists": [[1], [2]],
        "bytes": [b"a", b"b"],
        "words": pa.array(["a", "b"]).dictionary_encode(),
        "none": pa.nulls(2),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    columns = read_sample(tmp_path / "a.parquet").columns
    assert {each.name: facts_of(each).type for each in columns} == {
        "ints": "integer", "floats": "decimal", "decimals": "decimal", "bools": "bool",
        "times": "time", "days": "time", "lists": "other", "bytes": "other", "words": "text",
        "none": "other",
    }  # fmt: skip


def test_a_parquet_column_that_is_there_twice(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="there twice: a"):
        read_sample(tmp_path / "a.parquet")


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=300) | st.text(max_size=200).map(str.encode),
       name=st.sampled_from(["a.csv", "a.csv.gz", "a.parquet"]))  # fmt: skip
def test_any_bytes_are_a_table_or_a_users_error(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    try:
        columns = read_sample(tmp_path / name).columns
    except UsageError:
        return
    for column in columns:
        facts_of(column)
