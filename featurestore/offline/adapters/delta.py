"""The offline store on Delta Lake: appends that happen once, and SQL that can't leave the folder.

A writer numbers its appends. Delta records the last number with the rows, in the same commit, so
an append that is repeated after a crash finds its number there and does nothing.

Rows of our own tables are written by `parquet.py` and only committed by delta-rs. A commit costs
what lies in the log since the last checkpoint, so checkpoints are frequent.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from claimtrace.errors import StoreUnavailable, Superseded, UsageError

from ..tables import (
    DECISIONS,
    DEFINITIONS,
    SCHEMAS,
    VECTORS,
    check_name,
    conform,
    newest_digest_query,
    plain_schema,
    statistics_columns,
    vectors_query,
)
from .delta_errors import first_line, ours
from .parquet import add_file

if TYPE_CHECKING:
    from .s3_files import S3Files

KEEP_HOURS = 168
"""Files that a newer version replaced are kept a week, for readers that still hold them."""
CHECKPOINT_EVERY = 10
"""Commits. Every append reads those since the last checkpoint again: 0.2 ms of CPU each."""
CLEAN_EVERY = 100
"""Commits. Looking for log files to delete lists all of them."""
LOG_DAYS = 1
"""The log of older versions goes: on a local disk each of its files makes each commit slower."""

S3 = "s3://"
STATISTICS = "delta.dataSkippingStatsColumns"
PLAIN_WRITER = 2
"""The Delta protocol of tables without constraints, generated columns or a change feed."""
_ZSTD = WriterProperties(compression="ZSTD", compression_level=1)

# Nothing that SQL says may read a file, load an extension, or see the caller's variables.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
_READS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class OfflineStore:
    """Tables below one folder, local or `s3://bucket/prefix`; each table is a sub-folder.

    Args:
        folder: made on the first append.
        options: for object stores: credentials, region, endpoint (see delta-rs).
    """

    def __init__(self, folder: str | Path, options: Mapping[str, str] | None = None) -> None:
        self._folder = str(folder).rstrip("/")
        self._is_local = "://" not in self._folder
        self._options = dict(options) if options else None
        self._open_tables: dict[str, DeltaTable] = {}
        self._s3_files: S3Files | None = None

    def append(self, table: str, rows: pa.Table, *, writer: str, version: int) -> bool:
        """Append rows once; the first append makes the table.

        Args:
            table: a name of `featurestore.offline.tables.SCHEMAS` (rows are checked and cast), or
            another.
            rows: none at all is fine: the version counts as committed.
            writer: who numbers; one writer appends in the order of its versions.
            version: >= 0. One that is not above the last committed one does nothing.

        Returns:
            Whether the rows were appended by this call.

        Raises:
            UsageError: the rows don't fit the table, or the version is negative.
            ConfigError: the bucket isn't there, or this machine may not do it.
            StoreUnavailable: the store doesn't answer; nothing was appended; try again.
        """
        if version < 0:
            raise UsageError("versions start at 0", where=f"{table} {writer} {version}")
        whole = conform(table, rows)
        # Check and write see one version of the table: Delta refuses the commit when somebody else
        # committed this writer's number in between.
        lost = None
        for _ in range(5):  # workers that start together make a table together
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
        """Append rows for several writers at once, and move all of them on, or none.

        Args:
            table, rows: as of `append`.
            versions: of each writer after this append.
            before: of each writer before it, -1 for none.

        Returns:
            False when this very append was done already.

        Raises:
            Superseded: a writer is neither where it was nor where it shall be: another one wrote.
            UsageError, StoreUnavailable: as `append`.
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
            # somebody's commit came between: with the next try we see whose
            raise StoreUnavailable(f"another append won: {error}", where=table) from error
        return True

    def committed(self, table: str, writer: str) -> int:
        """The last version that a writer committed to a table; -1 when there is none."""
        found = self._find(table)
        return -1 if found is None else self._last(found, table, writer)

    def dataset(self, table: str) -> pads.Dataset:
        """A table as an Arrow dataset of its newest version.

        Raises:
            UsageError: there is no such table; the hint names the nearest.
        """
        found = self._open(table)
        with self._errors(table):
            return found.to_pyarrow_dataset()

    def tables(self) -> dict[str, int]:
        """The tables that exist, by name, with their versions (their lineage)."""
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
        """Answer one reading statement in DuckDB's SQL over all tables, and `vectors`.

        `vectors` shows the decisions of the newest definitions with a named column a feature.

        Raises:
            UsageError: for a statement that isn't a read, doesn't parse, or names what isn't there.
        """
        with duckdb.connect(":memory:", config=_CLOSED) as session:
            for name in self.tables():
                session.register(name, self.dataset(name))
            self._show_vectors(session)
            _refuse_writes(session, query)
            try:
                return session.sql(query).to_arrow_table()
            except duckdb.Error as error:
                raise UsageError(first_line(error), where="sql", hint=self._near(error)) from error

    def compact(self, table: str) -> dict[str, int]:
        """Merge the small files of a table into large ones; rows and transactions stay.

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
        """Delete files that no version of the last `keep_hours` needs; returns how many.

        Erasure ends here: rows deleted from a table are gone from the disk only after this.
        """
        if keep_hours < 0:
            raise UsageError("keep_hours is negative", where=table)
        found = self._open(table)
        with self._errors(table):
            gone = found.vacuum(
                retention_hours=keep_hours, dry_run=dry_run, enforce_retention_duration=False
            )
        return len(gone)

    def _last(self, found: DeltaTable, table: str, writer: str) -> int:
        with self._errors(table):
            version = found.transaction_version(writer)
        return -1 if version is None else int(version)

    def _write(
        self, found: DeltaTable, table: str, rows: pa.Table, transactions: list[Transaction]
    ) -> None:
        cleans = None if found.version() % CLEAN_EVERY == 0 else False  # None: as the table says
        how: dict[str, Any] = {
            "commit_properties": CommitProperties(app_transactions=transactions),
            "post_commithook_properties": PostCommitHookProperties(cleanup_expired_logs=cleans),
        }
        with self._errors(table):
            schema = found.schema()
            if table in SCHEMAS and _is_ours(found, pa.schema(schema), SCHEMAS[table]):
                added = [add_file(self._files(table), rows)] if rows.num_rows else []
                found.create_write_transaction(added, "append", schema, **how)
            else:  # a table of another kind or of an older make: it gains the columns
                plain = rows.cast(plain_schema(rows.schema))
                write_deltalake(
                    found, plain, mode="append", schema_mode="merge", writer_properties=_ZSTD, **how
                )

    def _files(self, table: str) -> pafs.FileSystem | S3Files:
        """The table's own folder."""
        if self._folder.startswith(S3) and self._options is None:
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
                # Made by another one at this moment; then it is there to be opened.
                self._open_tables.pop(table, None)
                if (found := self._find(table)) is not None:
                    return found
                raise StoreUnavailable(f"can't make the table: {error}", where=table) from error
        return self._open(table)

    def _find(self, table: str) -> DeltaTable | None:
        """The table at its newest version, or None when there is none."""
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

    def _show_vectors(self, session: duckdb.DuckDBPyConnection) -> None:
        tables = self.tables()
        if DECISIONS not in tables or DEFINITIONS not in tables:
            return
        newest = session.execute(newest_digest_query()).fetchone()
        if newest is None:
            return
        names = feature_names(self, str(newest[0]))
        session.execute(f"CREATE VIEW {VECTORS} AS {vectors_query(str(newest[0]), names)}")

    def _near(self, error: duckdb.Error) -> str:
        hint = "the tables are " + ", ".join([*self.tables(), VECTORS])
        for line in str(error).splitlines()[1:]:
            if line.startswith(("Candidate bindings", "Did you mean")):
                return f"{line}; {hint}"
        return hint

    @contextmanager
    def _errors(self, table: str) -> Iterator[None]:
        """Turn the library's errors into ours; the handle is opened anew next time."""
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            self._open_tables.pop(table, None)
            raise
        except (DeltaError, OSError) as error:
            self._open_tables.pop(table, None)
            raise ours(error, self._path(table)) from error


def feature_names(store: OfflineStore, digest: str) -> list[str]:
    """The names of the features of one definitions digest, in vector order.

    Raises:
        UsageError: the table `definitions` doesn't know the digest.
    """
    rows = store.dataset(DEFINITIONS).to_table(
        columns=["feature_position", "feature"], filter=pads.field("digest") == digest
    )
    # A second worker may have written the same rows: the last of each place counts once.
    names = dict(
        zip(rows["feature_position"].to_pylist(), rows["feature"].to_pylist(), strict=True)
    )
    if not names or sorted(names) != list(range(len(names))):
        raise UsageError(
            "the offline store doesn't know these definitions",
            where=digest,
            hint="the engine writes them with its first decisions; is this the right folder?",
        )
    return [names[place] for place in range(len(names))]


def _is_ours(found: DeltaTable, schema: pa.Schema, rows: pa.Schema) -> bool:
    """Whether a table is as we make it: these columns, the statistics we write, nothing to check.

    delta-rs doesn't look into files that it only commits.
    """
    return (
        found.metadata().configuration.get(STATISTICS) == ",".join(statistics_columns(rows))
        and found.protocol().min_writer_version == PLAIN_WRITER
        and len(schema) == len(rows)
        and all(
            (place := schema.get_field_index(f.name)) >= 0 and schema.field(place) == f
            for f in rows
        )
    )


def _refuse_writes(session: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        statements = session.extract_statements(query)
    except duckdb.Error as error:
        raise UsageError(first_line(error), where="sql") from error
    if len(statements) != 1 or statements[0].type not in _READS:
        raise UsageError(
            "the offline store only answers one reading statement", where="sql", hint="write SELECT"
        )


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "there are: " + ", ".join(known)
