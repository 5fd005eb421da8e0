"""The output of a batch: each line of the input with its answer, in one of three forms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from .answer import Answer
from .fields import FIRST, PREFIX, values_of
from .rows import Row

DECISION: Final = "decision"
"""The field of a line of NDJSON that has the answer."""
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class Joined(NamedTuple):
    """A line of the output: the cells that it keeps of the input, and the fields of its answer."""

    cells: Mapping[str, Any]
    answer: Mapping[str, Any]
    text: str = ""
    """The line of the input where it isn't an object, cut to some length."""


_SHOWN_CHARS: Final = 1_000


def joined(
    rows: Iterable[Row],
    answers: Iterable[Answer],
    fields: Sequence[str],
    keep: Sequence[str] | None,
) -> Iterator[Joined]:
    """Join the lines of a file with their answers.

    Args:
        rows, answers: one each, in the order of the file.
        fields: of the answers; see `serving.batches.fields.chosen`.
        keep: the fields of the input to keep; None: all.
    """
    for row, answer in zip(rows, answers, strict=True):
        cells = row.cells
        if keep is not None:
            cells = {name: cells[name] for name in keep if name in cells}
        text = "" if row.cells else row.value[:_SHOWN_CHARS].decode(errors="replace")
        yield Joined(cells, values_of(answer, fields), text)


def json_line(line: Joined) -> bytes:
    """Return a line as JSON: the input's fields, and `decision`.

    >>> json_line(Joined({"a": 1}, {"advisory": True, "score": 0.5}))
    b'{"a":1,"decision":{"advisory":true,"score":0.5}}'
    """
    whole = {name: each for name, each in line.cells.items() if name != DECISION}
    if line.text:
        whole["input"] = line.text
    return _encode({**whole, DECISION: line.answer})


def table_columns(cells: Sequence[str], fields: Sequence[str]) -> list[str]:
    """Return the columns of a table: those of the input, and those of the answers.

    A column of the input that has the name of an answer's field gives way to it.
    """
    own = [f"{PREFIX}{name}" for name in (FIRST, *fields)]
    return [*(name for name in cells if name not in own), *own]


def table_row(line: Joined, columns: Sequence[str]) -> list[Any]:
    """Return the cells of a table; JSON as text, None for missing."""
    return [
        _cell(line.answer.get(name.removeprefix(PREFIX)))
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) in line.answer
        else _cell(line.cells.get(name))
        for name in columns
    ]


def _cell(value: Any) -> Any:
    """Return a value as a cell: of raw JSON the text of a string, else the JSON itself."""
    if not isinstance(value, msgspec.Raw):
        return value
    plain = bytes(value)
    if plain == b"null":
        return None
    return msgspec.json.decode(plain) if plain[:1] == b'"' else plain.decode()
