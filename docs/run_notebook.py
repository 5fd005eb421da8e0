"""Run docs/notebook.ipynb beside a folder, and write it with clean outputs.

`.venv/bin/python docs/run_notebook.py PARENT` runs it in the folder that holds `claimtrace-data`,
such as the one of `claimtrace demo --quick`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PAGE = Path(__file__).parent / "notebook.ipynb"
_STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)


def run(page: Path, beside: Path) -> Any:
    """Run a notebook; returns it with its outputs, without times, counters and style sheets.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(page, as_version=4)
    client = NotebookClient(notebook, timeout=400, kernel_name="python3",
                            resources={"metadata": {"path": str(beside)}})  # fmt: skip
    client.execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type != "code":
            continue
        # notices of libraries, such as progress, are no part of a page
        cell.outputs = [each for each in cell.outputs if each.output_type != "stream"]
        for output in cell.outputs:
            for kind, text in output.get("data", {}).items():
                output.data[kind] = _STYLE.sub("", text)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    made = run(PAGE, Path(sys.argv[1]))
    PAGE.write_text(nbformat.writes(made, indent=1) + "\n")
