"""Scans of an Arrow dataset that leave nothing running when the caller stops early.

Arrow's own scanner reads ahead in background threads, and goes on after a `limit` was reached or
Ctrl-C came. A process that ends meanwhile hangs or dies: the reads call into an interpreter that is
gone, or into a pool of threads that the exit has already taken down.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads


class SteadyDataset(pads.FileSystemDataset):  # type: ignore[misc]
    """A dataset of Parquet files whose scans read one row group at a time and wait for it.

    `to_table`, `to_batches` and `head`, and DuckDB's scans, go by `scanner`.

    Args:
        dataset: the dataset to scan.
    """

    def __init__(self, dataset: pads.FileSystemDataset) -> None:
        fragments = list(dataset.get_fragments())
        super().__init__(fragments, dataset.schema, dataset.format, dataset.filesystem)

    def scanner(self, **options: Any) -> SteadyScan:
        """Return a scan; the options are those of `pyarrow.dataset.Dataset.scanner`."""
        return SteadyScan(self, options)


class SteadyScan:
    """A scan of some columns and rows, in the order of files.

    Args:
        dataset: the dataset to scan.
        options: those of `pyarrow.dataset.Dataset.scanner`, such as `columns` and `filter`.
    """

    def __init__(self, dataset: SteadyDataset, options: dict[str, Any]) -> None:
        self._dataset = dataset
        self._options = options
        self._plain = pads.FileSystemDataset.scanner(dataset, **options)
        self.projected_schema: pa.Schema = self._plain.projected_schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches; nothing is read between two of them.

        Raises:
            OSError, pyarrow.ArrowException: a file is missing or damaged.
        """
        schema, mask = self._dataset.schema, self._options.get("filter")
        for fragment in self._dataset.get_fragments(mask):
            for group in fragment.split_by_row_group(mask, schema):
                # to_table returns when all its reads are done
                yield from group.scanner(schema=schema, **self._options).to_table().to_batches()

    def to_reader(self) -> pa.RecordBatchReader:
        """Return the batches as a reader."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self.to_batches())

    def to_table(self) -> pa.Table:
        """Return all rows of the dataset as one Arrow table in memory."""
        return pa.Table.from_batches(self.to_batches(), self.projected_schema)

    def head(self, rows: int) -> pa.Table:
        """Return the first rows."""
        found: list[pa.RecordBatch] = []
        for batch in self.to_batches():
            found.append(batch.slice(0, rows))
            rows -= len(found[-1])
            if rows <= 0:
                break
        return pa.Table.from_batches(found, self.projected_schema)

    def count_rows(self) -> int:
        """Return the number of rows; without a filter the files' footers are enough."""
        return int(self._plain.count_rows())
