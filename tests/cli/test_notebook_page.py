"""docs/notebook.ipynb: runs from top to bottom on a small folder, and is small and clean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from docs.run_notebook import PAGE, run
from tests.compat.editions import copy_of
from tests.worlds.damaged_folder import EDITION, ask, edition_domain

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    with edition_domain():
        folder = copy_of(EDITION, tmp_path / "claimtrace-data")
        assert ask(folder, "models", "promote", "1", "--reason", "again").code == 0
    return tmp_path


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> list[list[str]]:
    return [sorted(output["data"]) for output in cell.outputs]


def test_the_notebook_runs(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(EDITION)]))
    monkeypatch.setenv("IPYTHONDIR", str(beside / "ipython"))
    monkeypatch.delenv("CLAIMTRACE_FOLDER", raising=False)
    ran, page = code_cells(run(PAGE, beside)), code_cells(nbformat.read(PAGE, as_version=4))
    assert [kinds(cell) for cell in ran] == [kinds(cell) for cell in page]
    text = ran[4].outputs[0]["data"]["text/plain"]
    assert ": refer" in text
    assert "the seal follows" in text
    assert "nothing was written" in ran[6].outputs[0]["data"]["text/plain"]


def test_the_page_is_clean() -> None:
    page = nbformat.read(PAGE, as_version=4)
    nbformat.validate(page)
    content = PAGE.read_text()
    assert len(content) < 40_000
    for word in ("/home/", "/root", "/tmp", "Traceback", "<style", "<script", "image/png"):
        assert word not in content
    for cell in code_cells(page):
        assert cell.outputs, cell.source
        assert all(output.output_type == "execute_result" for output in cell.outputs)
