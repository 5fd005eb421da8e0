"""`claimtrace models report`: the report of a version, as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from claimtrace.errors import UsageError

from ...console import out, safe
from ...mistakes import check_writable
from ...wiring.workspace import Workspace

REPORT_FILE: Final = "report.html"


def report(
    ctx: typer.Context,
    version: Annotated[int, typer.Argument(help="The number of a version.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="Write the page to this new .html file.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show where the report of a version lies: data, quality, explanations, lineage.

    One page for people, made by `claimtrace train`. It loads nothing from the network and prints on
    A4. A page that was changed since is refused, as a changed model is.
    """
    workspace: Workspace = ctx.obj
    if to is not None and opened:
        raise UsageError("both say what to do with the page", where="--out, --open",
                         hint="give one of them")  # fmt: skip
    if to is not None:
        _check_new(to)
    _check_has_page(workspace, version)
    page = workspace.registry.attachment(version, REPORT_FILE)
    place = workspace.registry.attachment_place(version, REPORT_FILE)
    if to is not None:
        from claimtrace.adapters.files.atomic_files import write_file

        write_file(to, page)
    elif opened:
        typer.launch(place if workspace.models_folder is not None else _local_copy(page))
    out.print(safe(to or place), soft_wrap=True)


def _local_copy(page: bytes) -> str:
    """Write a page that lies in a bucket to a file of its own, for the browser."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".html", delete=False) as file:
        file.write(page)
    return file.name


def _check_has_page(workspace: Workspace, version: int) -> None:
    workspace.published(version)
    if REPORT_FILE not in workspace.registry.load(version).manifest.attached:
        raise UsageError(
            f"version {version} has no report", where=workspace.domain.name,
            hint="claimtrace train makes one for a new version unless training.report is false",
        )  # fmt: skip


def _check_new(path: Path) -> None:
    """Refuse a file that can't be written."""
    if path.suffix != ".html" or path.exists():
        raise UsageError("the page goes to a new .html file", where=str(path),
                         hint="name one that doesn't exist, such as report.html")  # fmt: skip
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent),
                         hint="make it first, or name another place for the page")  # fmt: skip
    check_writable(path.parent)
