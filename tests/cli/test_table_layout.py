"""A table fits the screen, and no word of it is broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from cli import console
from cli.table_layout import LEAST_WRAPPED, cut, fitting_columns, lines_of, stacked

WORDS = st.text("abc.-_/1", min_size=1, max_size=20)
CELLS = st.lists(WORDS, max_size=8).map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Text], list[list[Text]]]:
    columns = draw(st.integers(1, 6))
    header = [Text(draw(WORDS)) for _ in range(columns)]
    rows = draw(st.lists(st.lists(CELLS.map(Text), min_size=columns, max_size=columns), max_size=5))
    return header, rows


@given(tables(), st.integers(40, 200), st.integers(0, 1), st.integers(0, 1))
def test_words_stay_whole_and_lines_fit(
    table: tuple[list[Text], list[list[Text]]], width: int, numbers: int, under: int
) -> None:
    header, rows = table
    under = min(under, len(header) - 1)
    made = [line.plain for line in lines_of(header, rows, width, min(numbers, len(header)), under)]
    shown = " ".join(made).replace(":", " ").split()
    for row in rows:
        for cell in row:
            for word in cell.plain.split():
                assert word in shown
    # a line may be longer only where no layout could help: ids that fill the screen by themselves
    fixed = len(header) * (20 + 2) + 2 + LEAST_WRAPPED
    if fixed <= width and not under:
        assert all(len(line) <= width for line in made)


@given(tables(), st.integers(60, 200))
def test_stacked_rows_fit_and_name_each_column(
    table: tuple[list[Text], list[list[Text]]], width: int
) -> None:
    header, rows = table
    made = [line.plain for line in stacked(header, rows, width)]
    assert all(len(line) <= width for line in made)
    assert len([line for line in made if line and not line.startswith(" ")]) >= len(rows)


def test_few_columns_are_kept_and_cells_cut() -> None:
    header = [Text("id"), Text("words"), Text("more")]
    rows = [[Text("x" * 10), Text("y" * 300), Text("z" * 30)]]
    assert fitting_columns(header, rows, 80) == 2
    assert fitting_columns(header, rows, 5) == 1
    assert fitting_columns(header, rows, 200) == 3
    assert len(cut(rows[0][1]).plain) == 60
    assert cut(rows[0][1]).plain.endswith("…")


def test_without_a_terminal_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("t", ["a", "b"], [["x" * 200, "word " * 100]], under=1)
    assert console.wide_table([f"c{i}" for i in range(40)], [["v" * 30] * 40]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert len(lines[-1]) > 1000


def test_text_from_outside_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["a"], [[console.safe("[bold]x[/] \x1b[31m")]])
    assert capsys.readouterr().out.splitlines()[1] == "[bold]x[/] [31m"
