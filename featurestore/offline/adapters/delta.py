"""The offline store on Delta Lake: idempotent appends, and scans of its tables.

A writer numbers its appends. Delta records each writer's last number in the same commit as the
rows, so an append that is repeated after a crash finds its number there and does nothing.

Rows of our own tables are written by `parquet.py` and only committed by delta-rs. A commit reads
the log since the last checkpoint, so checkpoints are frequent.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from claimtrace.errors import StoreUnavailable, Superseded, UsageError

from ..tables import SCHEMAS, check_name, conform, plain_schema, statistics_columns
from .delta_errors import read_batches, reading_errors, translated
from .feature_names import feature_names as feature_names
from .file_digests import FilesFound, check_files
from .parquet import STATISTICS, add_file, is_ours

if TYPE_CHECKING:
    from .s3_files import S3Files
    from .scans import SteadyDataset

KEEP_HOURS = 168
"""Files that a newer version replaced are kept for a week, for readers that still use them."""
CHECKPOINT_EVERY = 10
"""Commits between checkpoints. Each append reads those since the last one: 0.2 ms of CPU each."""
CLEAN_EVERY = 100
"""Commits between clean-ups of the log, because each clean-up lists all log files."""
LOG_DAYS = 1
"""The log of older versions is deleted: on a local disk each log file makes each commit slower."""

S3 = "s3://"
_ZSTD = WriterProperties(compression="ZSTD", compression_level=1)


class OfflineStore:
    """Tables below one folder, local or `s3://bucket/prefix`; each table is a sub-folder.

    Args:
        folder: the folder or URL; created by the first append.
        options: delta-rs' options of an object store, such as credentials, region and endpoint.
    """

    def __init__(self, folder: str | Path, options: Mapping[str, str] | None = None) -> None:
        self._folder = str(folder).rstrip("/")
        self._is_local = "://" not in self._folder
        self._options = dict(options) if options else None
        self._open_tables: dict[str, DeltaTable] = {}
        self._s3_files: S3Files | None = None

    def append(self, table: str, rows: pa.Table, *, writer: str, version: int) -> bool:
        """Append rows exactly once; the first append creates the table.

        Args:
            table: any valid name; rows of the tables in `SCHEMAS` are checked and cast.
            rows: the rows; with no rows the version is committed all the same.
            writer: the name of the writer that numbers its appends; its versions must rise.
            version: the number, >= 0; nothing is appended unless it exceeds the last committed one.

        Returns:
            Whether the rows were appended by this call.

        Raises:
            UsageError: the rows don't fit the table, or the version is negative.
            ConfigError: the bucket doesn't exist, or access is denied.
            StoreUnavailable: the store doesn't answer, or other appends won. Retry with the same
                version; if the rows were stored after all, the retry does nothing.
        """
        if version < 0:
            raise UsageError("versions start at 0", where=f"{table} {writer} {version}")
        whole = conform(table, rows)
        # check and write see one version: Delta refuses a commit of a number committed in between
        lost = None
        for _ in range(5):  # workers that start together may create the table together
            found = self._find(table) or self._create(table, plain_schema(whole.schema))
            if self._last(found, table, writer) >= version:
                return False
            try:
                self._write(found, table, whole, [Transaction(writer, version)])
                return True
            except CommitFailedError as error:
                lost = error
        raise StoreUnavailable(f"another append won: {lost}", where=table) from lost

    def append_once(
        self, table: str, rows: pa.Table, *, versions: Mapping[str, int], before: Mapping[str, int]
    ) -> bool:
        """Append rows of several writers in one commit, which advances all of the writers or none.

        Args:
            table, rows: see `append`.
            versions: the version of each writer after this append.
            before: the version of each writer before this append, -1 for none.

        Returns:
            False if this very append was committed already.

        Raises:
            Superseded: a writer is neither before nor after this append: another worker wrote.
            UsageError, ConfigError, StoreUnavailable: see `append`.
        """
        whole = conform(table, rows)
        found = self._find(table) or self._create(table, plain_schema(whole.schema))
        last = {writer: self._last(found, table, writer) for writer in versions}
        if last == versions:
            return False
        if last != before:
            moved = sorted(writer for writer in versions if last[writer] != before[writer])
            raise Superseded(f"another worker has stored the rows of {moved[0]}", where=table)
        try:
            self._write(found, table, whole, [Transaction(*each) for each in versions.items()])
        except CommitFailedError as error:
            # another commit came first: the retry finds out whether it was of one of these writers
            raise StoreUnavailable(f"another append won: {error}", where=table) from error
        return True

    def committed(self, table: str, writer: str) -> int:
        """Return the last version that a writer committed to a table; -1 for none."""
        found = self._find(table)
        return -1 if found is None else self._last(found, table, writer)

    def dataset(self, table: str) -> SteadyDataset:
        """Return the newest version of a table as an Arrow dataset, whose scans may be left early.

        Raises:
            UsageError: there is no such table; the hint suggests the nearest name.
        """
        from .scans import SteadyDataset

        found = self._open(table)
        # Arrow's threads must not call Python: a thread that does while the process ends never ends
        files = self._files(table) if self._is_local else None
        with self._errors(table):
            return SteadyDataset(found.to_pyarrow_dataset(filesystem=files))

    def batches(self, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table as of this call, with some columns.

        Raises:
            UsageError: there is no such table.
            StateError: a file is missing or damaged.
        """
        return read_batches(self.dataset(table), columns, self._path(table))

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        dataset = self.dataset(table)
        with reading_errors(self._path(table)):
            return int(dataset.count_rows())

    def check_files(self, table: str, most: int | None = None) -> FilesFound:
        """Compare the files of a table with what their commits recorded: presence, size, digest.

        Args:
            table: the table.
            most: read this many files, the newest and others evenly between; None: all of them.

        Raises:
            UsageError: there is no such table.
            StateError: a file is missing, or is not the one that was committed.
        """
        found = self._open(table)
        with self._errors(table):
            listed = found.get_add_actions(flatten=True).select(["path", "size_bytes"])
            return check_files(self._files(table, reading=True), pa.table(listed), table, most)

    def tables(self) -> dict[str, int]:
        """Return the existing tables by name, with their versions (for lineage)."""
        names = set(SCHEMAS)
        if self._is_local and Path(self._folder).is_dir():
            names |= {
                path.parent.name
                for path in Path(self._folder).glob("*/_delta_log")
                if path.is_dir()
            }
        found = {name: self._find(name) for name in sorted(names)}
        return {name: int(table.version()) for name, table in found.items() if table is not None}

    def sql(self, query: str) -> pa.Table:
        """Run one read-only statement in DuckDB's SQL over all tables and the view `vectors`.

        `vectors` has the decisions under the newest definitions, with one column for each feature.

        Raises:
            UsageError: the statement isn't read-only, doesn't parse, or has an unknown name.
            StateError: a file of a table is missing or damaged.
        """
        from .queries import run_query

        return run_query(self, self._folder, query)

    def compact(self, table: str) -> dict[str, int]:
        """Merge the small files of a table into large files; rows and transactions are unchanged.

        Returns:
            `files_added` and `files_removed`.
        """
        found = self._open(table)
        with self._errors(table):
            metrics: dict[str, Any] = found.optimize.compact(writer_properties=_ZSTD)
        return {
            "files_added": int(metrics["numFilesAdded"]),
            "files_removed": int(metrics["numFilesRemoved"]),
        }

    def vacuum(self, table: str, *, keep_hours: int = KEEP_HOURS, dry_run: bool = False) -> int:
        """Delete files that no version of the last `keep_hours` needs; returns their number.

        Completes an erasure: rows that were deleted from a table remain on disk until this runs.
        """
        if keep_hours < 0:
            raise UsageError("keep_hours is negative", where=table)
        found = self._open(table)
        with self._errors(table):
            deleted = found.vacuum(
                retention_hours=keep_hours, dry_run=dry_run, enforce_retention_duration=False
            )
        return len(deleted)

    def _last(self, found: DeltaTable, table: str, writer: str) -> int:
        with self._errors(table):
            version = found.transaction_version(writer)
        return -1 if version is None else int(version)

    def _write(
        self, found: DeltaTable, table: str, rows: pa.Table, transactions: list[Transaction]
    ) -> None:
        # None leaves the decision to the table's properties
        cleans = None if found.version() % CLEAN_EVERY == 0 else False
        options: dict[str, Any] = {
            "commit_properties": CommitProperties(app_transactions=transactions),
            "post_commithook_properties": PostCommitHookProperties(cleanup_expired_logs=cleans),
        }
        with self._errors(table):
            if table in SCHEMAS:
                found = self._with_new_columns(found, table)
            schema = found.schema()
            if table in SCHEMAS and is_ours(found, pa.schema(schema), SCHEMAS[table]):
                added = [add_file(self._files(table), rows)] if rows.num_rows else []
                found.create_write_transaction(added, "append", schema, **options)
            else:  # another table, or one that somebody else made: delta-rs adds missing columns
                plain = rows.cast(plain_schema(rows.schema))
                options |= {"schema_mode": "merge", "writer_properties": _ZSTD}
                write_deltalake(found, plain, mode="append", **options)

    def _with_new_columns(self, found: DeltaTable, table: str) -> DeltaTable:
        """Add the columns that an older version's table doesn't have, by a commit of their own.

        A file that we write has its digest in its name; one in which delta-rs adds columns hasn't.
        """
        there = {field.name for field in found.schema().fields}
        new = [field for field in SCHEMAS[table] if field.name not in there]
        if not new or not all(field.nullable for field in new):
            return found
        found.alter.add_columns(list(Schema.from_arrow(pa.schema(new)).fields))
        return self._open(table)

    def _files(self, table: str, *, reading: bool = False) -> pafs.FileSystem | S3Files:
        """Return the file system that is rooted at the table's folder."""
        if self._folder.startswith(S3) and self._options is None and not reading:
            from .s3_files import S3Files  # boto3 takes half a second to import

            self._s3_files = self._s3_files or S3Files(self._folder)
            return self._s3_files.below(table)
        if self._is_local:
            return pafs.SubTreeFileSystem(self._path(table), pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(self._path(table), self._options))

    def _create(self, table: str, schema: pa.Schema) -> DeltaTable:
        with self._errors(table):
            try:
                DeltaTable.create(
                    self._path(table),
                    schema,
                    mode="ignore",
                    configuration={
                        STATISTICS: ",".join(statistics_columns(schema)),
                        "delta.checkpointInterval": str(CHECKPOINT_EVERY),
                        "delta.logRetentionDuration": f"interval {LOG_DAYS} days",
                    },
                    storage_options=self._options,
                )
            except CommitFailedError as error:
                # another worker has created the table at the same moment: open that one
                self._open_tables.pop(table, None)
                if (found := self._find(table)) is not None:
                    return found
                raise StoreUnavailable(f"can't create the table: {error}", where=table) from error
        return self._open(table)

    def _find(self, table: str) -> DeltaTable | None:
        """Return the table at its newest version, or None if it doesn't exist."""
        known = self._open_tables.get(check_name(table))
        with self._errors(table):
            if known is not None:
                known.update_incremental()
                return known
            if self._is_local and not Path(self._path(table), "_delta_log").is_dir():
                return None
            try:
                found = DeltaTable(self._path(table), storage_options=self._options)
            except TableNotFoundError:
                return None
        self._open_tables[table] = found
        return found

    def _open(self, table: str) -> DeltaTable:
        found = self._find(table)
        if found is None:
            raise UsageError(
                f"there is no table {table}",
                where=self._folder,
                hint=_nearest(table, list(self.tables()) or sorted(SCHEMAS)),
            )
        return found

    def _path(self, table: str) -> str:
        return f"{self._folder}/{table}"

    @contextmanager
    def _errors(self, table: str) -> Iterator[None]:
        """Translate the library's errors; after one, the table is opened anew at its next use."""
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            self._open_tables.pop(table, None)
            raise
        except (DeltaError, OSError) as error:
            self._open_tables.pop(table, None)
            raise translated(error, self._path(table)) from error


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "there are: " + ", ".join(known)
