"""A scan that is left early leaves nothing running, so that a process may end at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pytest
from deltalake.fs import DeltaStorageHandler
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import StateError
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.adapters.scans import SteadyDataset

ROOT = Path(__file__).resolve().parents[4]
FILES = 8

ASK = """
import sys
from featurestore.offline.adapters.delta import OfflineStore
print(OfflineStore(sys.argv[1]).sql(sys.argv[2]).num_rows)
"""
LEAVE = """
import sys
from featurestore.offline.adapters.delta import OfflineStore
print(next(iter(OfflineStore(sys.argv[1]).dataset("wide").to_batches())).num_rows > 0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a table that takes far longer to read than a process takes to end."""
    folder = tmp_path_factory.mktemp("offline")
    store, draws = OfflineStore(folder), np.random.default_rng(7)
    for version in range(FILES):
        rows = {f"c{i}": draws.random(40_000) for i in range(24)}
        store.append("wide", pa.table(rows), writer="w", version=version)
    return folder


def ended(program: str, *arguments: str) -> tuple[int, str]:
    """How a process that runs a program ends, and what it prints; -1: it didn't end."""
    try:
        ran = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, text=True,
                             capture_output=True, check=False, timeout=120)  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, "didn't end"
    return ran.returncode, ran.stdout.strip() or ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)  # for the 200
@pytest.mark.parametrize("runs", [10, pytest.param(200, marks=pytest.mark.long)])
def test_a_query_with_a_limit_ends_with_its_answer(folder: Path, runs: int) -> None:
    def one(_: int) -> tuple[int, str]:
        return ended(ASK, str(folder), "select * from wide limit 3")

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(one, range(runs))) == {(0, "3")}


@pytest.mark.slow
def test_a_scan_that_is_dropped_ends_with_the_process(folder: Path) -> None:
    assert {ended(LEAVE, str(folder)) for _ in range(4)} == {(0, "True")}


class Counting(DeltaStorageHandler):  # type: ignore[misc]
    """Delta's file system, which counts the files that were opened."""

    opened = 0

    def open_input_file(self, path: str) -> pa.PythonFile:
        type(self).opened += 1
        return super().open_input_file(path)


def test_no_file_is_opened_before_its_rows_are_wanted(folder: Path) -> None:
    plain = OfflineStore(folder).dataset("wide")
    files = pafs.PyFileSystem(Counting(str(folder / "wide"), None))
    fragments = [plain.format.make_fragment(f.path, files) for f in plain.get_fragments()]
    dataset = SteadyDataset(pads.FileSystemDataset(fragments, plain.schema, plain.format, files))
    Counting.opened = 0
    batches: Iterator[pa.RecordBatch] = dataset.to_batches()
    next(batches)
    first = Counting.opened
    assert 1 <= first <= 2  # the footer, and the rows
    assert sum(1 for _ in batches) >= FILES - 1
    assert Counting.opened == first * FILES


@given(
    value=st.floats(0, 1),
    columns=st.lists(st.sampled_from(["c0", "c1", "c2"]), unique=True) | st.none(),
    rows=st.integers(0, 100),
)
def test_a_scan_has_the_rows_of_arrows_own(
    small: OfflineStore, value: float, columns: list[str] | None, rows: int
) -> None:
    steady = small.dataset("few")
    plain = pads.FileSystemDataset(
        list(steady.get_fragments()), steady.schema, steady.format, steady.filesystem
    )
    options = {"columns": columns, "filter": pads.field("c1") < value}
    assert steady.to_table(**options) == plain.to_table(**options)
    assert steady.head(rows, **options).num_rows == plain.head(rows, **options).num_rows
    assert steady.count_rows(filter=options["filter"]) == plain.to_table(**options).num_rows
    assert steady.scanner(**options).to_reader().read_all() == plain.to_table(**options)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> OfflineStore:
    store, draws = OfflineStore(tmp_path_factory.mktemp("small")), np.random.default_rng(7)
    for version in range(3):
        rows = {f"c{i}": draws.random(30) for i in range(3)}
        store.append("few", pa.table(rows), writer="w", version=version)
    return store


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    store.append("few", pa.table({"c0": [1.0, 2.0]}), writer="w", version=0)
    (file,) = (tmp_path / "few").glob("*.parquet")
    whole = file.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", None):
        file.unlink(missing_ok=True)
        if damage is not None:
            file.write_bytes(damage)
        for read in (
            lambda store: store.sql("select * from few"),
            lambda store: list(store.batches("few", ["c0"])),
            lambda store: store.count("few"),
        ):
            with pytest.raises(StateError, match=file.name) as told:
                read(OfflineStore(tmp_path))
            assert "\x1b" not in str(told.value)
            assert "from a copy" in told.value.hint
