"""SQL over the offline store: one read-only statement, confined to the store's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import duckdb
import pyarrow as pa

from claimtrace.errors import UsageError

from ..tables import DECISIONS, DEFINITIONS, VECTORS, newest_digest_query, vectors_query
from .delta_errors import asked_error, first_line
from .feature_names import feature_names

if TYPE_CHECKING:
    from .scans import SteadyDataset


class Tables(Protocol):
    """The tables of a store."""

    def tables(self) -> Mapping[str, int]:
        """Return the existing tables by name, with their versions."""

    def dataset(self, table: str) -> SteadyDataset:
        """Return the newest version of a table."""


# SQL must not read a file, load an extension, or see Python variables of the caller.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
_READS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def run_query(store: Tables, folder: str, query: str) -> pa.Table:
    """Run one read-only statement over all tables of a store and the view `vectors`.

    Args:
        store: the tables.
        folder: the store's folder, for errors.
        query: the statement.

    Raises:
        UsageError: the statement isn't read-only, doesn't parse, or has an unknown name.
        StateError: a file of a table is missing or damaged.
    """
    tables = {name: store.dataset(name) for name in store.tables()}
    with duckdb.connect(":memory:", config=_CLOSED) as session:
        for name, dataset in tables.items():
            session.register(name, dataset)
        try:
            _create_vectors_view(session, store, tables)
            _refuse_writes(session, query)
            return session.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise asked_error(error, folder, _hint(error, [*tables, VECTORS])) from error


def _create_vectors_view(
    session: duckdb.DuckDBPyConnection, store: Tables, tables: dict[str, SteadyDataset]
) -> None:
    if DECISIONS not in tables or DEFINITIONS not in tables:
        return
    newest = session.execute(newest_digest_query()).fetchone()
    if newest is None:
        return
    names = feature_names(store, str(newest[0]))
    session.execute(f"CREATE VIEW {VECTORS} AS {vectors_query(str(newest[0]), names)}")


def _refuse_writes(session: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        statements = session.extract_statements(query)
    except duckdb.Error as error:
        raise UsageError(first_line(error), where="sql") from error
    if len(statements) != 1 or statements[0].type not in _READS:
        raise UsageError(
            "the offline store runs a single read-only statement", where="sql", hint="write SELECT"
        )


def _hint(error: duckdb.Error, tables: list[str]) -> str:
    hint = "the tables are " + ", ".join(tables)
    for line in str(error).splitlines()[1:]:
        if line.startswith(("Candidate bindings", "Did you mean")):
            return f"{line}; {hint}"
    return hint
