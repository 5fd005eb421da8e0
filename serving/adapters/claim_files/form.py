"""The form of a file by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple

from claimtrace.errors import UsageError

Form = Literal["ndjson", "csv", "parquet"]

_SUFFIXES: Final[dict[str, Form]] = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


class FileForm(NamedTuple):
    """The form of a file, and whether it is compressed by gzip."""

    form: Form
    gzip: bool


def form_of(path: Path) -> FileForm:
    """Return the form of a file.

    Raises:
        UsageError: its name ends in nothing that is known.

    >>> form_of(Path("claims.csv.gz"))
    FileForm(form='csv', gzip=True)
    """
    suffix = path.suffix.lower()
    name = path.with_suffix("") if suffix == ".gz" else path
    form = _SUFFIXES.get(name.suffix.lower())
    if form is None:
        raise UsageError(
            "the name of the file doesn't say its form", where=str(path),
            hint="let it end in .ndjson, .csv or .parquet, or one of these and .gz",
        )  # fmt: skip
    return FileForm(form, suffix == ".gz")
