"""CSV and Parquet files: strict, whole, in any encoding, with the cause named when they are not."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimtrace.errors import ConfigError, UsageError
from producers.adapters.files import row_batches
from producers.adapters.parquet_files import cells_of
from producers.replay.cells import BadCell
from producers.replay.mapping import ReplayMapping, load_mapping

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["\r\n", "a\r\nb", 'say "x"', "a,b;c\td|e", "\n", " ", "'"]
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"]

IN_ONE_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def mapping(**more: Any) -> ReplayMapping:
    return load_mapping(
        {"topic": "t", "key": "a", "time": {"column": "T"}, "fields": {"a": "A"}, **more}
    )


def rows(path: Path, **more: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for batch in row_batches(path, mapping(**more)):
        assert batch.first_row == len(found) + 1
        assert not batch.faults
        found += zip(batch.columns["A"], batch.columns["T"], strict=True)
    return found


@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12),
    st.sampled_from(ENCODINGS),
    st.sampled_from([",", ";", "\t", "|", "\u00a6"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
@IN_ONE_FOLDER
def test_every_table_comes_back_as_it_was_written(
    tmp_path: Path, table: list[tuple[str, str]], encoding: str,
    delimiter: str, end: str,
) -> None:  # fmt: skip
    out = io.StringIO(newline="")
    breaks = any(set(cell) & set("\r\n") for row in table for cell in row)
    quoting = csv.QUOTE_ALL if breaks else csv.QUOTE_MINIMAL  # 3.11 leaves some breaks bare
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("A", "T", "unused"), *((*row, "x") for row in table)])
    content = out.getvalue().encode(encoding)
    (tmp_path / "t.csv").write_bytes(content)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(content))
    said = {"delimiter": delimiter, "encoding": encoding}
    assert rows(tmp_path / "t.csv", **said) == table
    assert rows(tmp_path / "t.csv.gz", **said) == table
    if encoding == "utf-8-sig":
        assert rows(tmp_path / "t.csv", delimiter=delimiter) == table, "its mark may go unsaid"


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.data())
@IN_ONE_FOLDER
def test_an_unclosed_quote_never_swallows_rows(
    tmp_path: Path, table: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Without one of its quotes a table is refused, has a faulty row, or has all its rows."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("A", "T"), *table])
    text = out.getvalue()
    place = data.draw(st.sampled_from([i for i, c in enumerate(text) if c == '"' and i > 8]))
    path = tmp_path / "t.csv"
    path.write_bytes((text[:place] + text[place + 1 :]).encode())
    try:
        batches = list(row_batches(path, mapping()))
    except UsageError:
        return
    read = sum(len(batch.columns["A"]) for batch in batches)
    assert read >= len(table) or any(batch.faults for batch in batches)


def test_line_breaks_in_cells_stay_across_blocks(tmp_path: Path) -> None:
    """A break of a cell lies across every border of 4 KiB up to 4 MiB, whatever is read at once."""
    cell = "x\r\ny" * 100
    table = [(cell[i % 7 :], "2024") for i in range(11_000)]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("A", "T"), *table])
    assert (tmp_path / "t.csv").stat().st_size > 4 << 20
    assert rows(tmp_path / "t.csv") == table


def test_rows_of_another_width_are_faults(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("A,T\n1,2\n\n3\n4,5,6\n7,8\n")
    (batch,) = row_batches(tmp_path / "t.csv", mapping())
    assert batch.columns["A"] == ["1", "3", "4", "7"]
    assert batch.faults == {
        1: "has 1 cells, the header has 2",
        2: "has 3 cells, the header has 2",
    }


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        (b'A,T\n1,2\n3,"4\n5,6\n', {}, "line 3 has a quote"),
        (b'A,T\n"1"x,2\n', {}, "line 2 has a quote"),
        (b"A;T\n1;2\n", {}, "separated by ';'"),
        (b"A\tT\n1\t2\n", {}, r'delimiter = "\\t"'),
        (b"A|T\n1|2\n", {}, r"separated by '\|'"),
        (b"A,T\n1,2\n", {"delimiter": ";"}, "separated by ','"),
        (b"A,T,A\n1,2,3\n", {}, "two columns 'A'"),
        (b"A,T,B,B\n1,2,3,4\n", {}, "two columns 'B'"),
        (b"A,B\n1,2\n", {}, "no column T.*it has A, B"),
        (b"A,t\n1,2\n", {}, "did you mean t"),
        (b"", {}, "is empty"),
        (b"A,T\nG\xe4rage,2\n", {}, "0xe4.*latin-1"),
        (b"A,T\n\x81,2\n", {"encoding": "cp1252"}, "not in cp1252"),
        ("A,T\n1,2\n".encode("utf-16"), {}, "encoding = 'utf-16'"),
        ("A,T\n1,2\n".encode("utf-16-be"), {}, "encoding = 'utf-16'"),
        (b"A,T\n" + b"x" * (3 << 20), {}, "more than 1,048,576 characters"),
        (b'A,T\n"' + b"x\n" * (1 << 20), {}, "quote that isn't closed"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_its_cause(
    tmp_path: Path, content: bytes, more: dict[str, str], words: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        list(row_batches(path, mapping(**more)))
    assert "t.csv" in caught.value.where


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"A,T\n" + b"1,2\n" * 1000)
    for content in (whole[: len(whole) // 2], b"no archive", whole[:-4] + b"xxxx"):
        (tmp_path / "t.csv.gz").write_bytes(content)
        with pytest.raises(UsageError, match="can't read the file"):
            list(row_batches(tmp_path / "t.csv.gz", mapping()))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"encoding": "utf-9"}, "no encoding 'utf-9'"),
        ({"encoding": "rot13"}, "no encoding"),
        ({"decimal": "ab"}, "decimal 'ab'"),
        ({"thousands": "."}, "both"),
        ({"fields": {"a": {"column": "A", "scale": 0}}}, "scale"),
        ({"fields": {"a": {"column": "A", "unit": "row"}}}, "unit = 'row'"),
        ({"on_bad_row": "skip"}, "on_bad_row"),
    ],
)
def test_a_wrong_notation_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        mapping(**more)


def parquet(path: Path, **columns: Any) -> list[tuple[Any, ...]]:
    pq.write_table(pa.table(columns), path)
    return rows(path)


def test_types_of_parquet_become_what_python_has(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    narrow = pa.array([0.1, None, 1234.56], pa.float32())
    texts = pa.array(["x", "y", "x"]).dictionary_encode()
    assert parquet(path, A=narrow, T=texts) == [(0.1, "x"), (None, "y"), (1234.56, "x")]
    nanos = pa.array([1_740_820_500_123_456_789], pa.timestamp("ns", "UTC"))
    ((moment, decimal),) = parquet(path, T=pa.array([Decimal("1.00")]), A=nanos)
    assert moment == datetime(2025, 3, 1, 9, 15, 0, 123456, tzinfo=UTC)
    assert str(decimal) == "1.00"


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
       st.sampled_from(["s", "ms", "us", "ns"]))  # fmt: skip
@IN_ONE_FOLDER
def test_every_timestamp_is_a_time_or_a_bad_cell(stamps: list[int | None], unit: str) -> None:
    cells = cells_of(pa.array(stamps, pa.timestamp(unit)))
    per_s = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    for cell, stamp in zip(cells, stamps, strict=True):
        if stamp is None:
            assert cell is None
        elif isinstance(cell, BadCell):
            assert not -62_135_596_800 <= stamp // per_s < 253_402_300_800
        else:
            since = (cell - datetime(1970, 1, 1)).total_seconds()
            assert since == pytest.approx(stamp / per_s, rel=1e-9, abs=1e-5)


def test_text_that_is_not_utf8_is_a_bad_cell(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"\xff"], pa.binary())
    found = parquet(tmp_path / "t.parquet", A=pa.Array.from_buffers(
        pa.string(), 2, raw.buffers()), T=["1", "2"])  # fmt: skip
    assert found[0] == ("ok", "1")
    assert isinstance(found[1][0], BadCell)
