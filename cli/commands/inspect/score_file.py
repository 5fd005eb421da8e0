"""`claimtrace score FILE --out F`: answer a file of claims, resumable by line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claimtrace.errors import UsageError
from serving.batches.batch import Asked, Way
from serving.batches.fields import chosen
from serving.batches.joining import joined

from ...console import out, print_json, progress, safe
from ...stopped import COMMAND
from ...wiring.workspace import Workspace
from .batch_run import BatchRun

if TYPE_CHECKING:
    from serving.adapters.claim_files.reading import ClaimFile

_SHOWN_COLUMNS = 20


class Output(NamedTuple):
    """What is written: the file, the fields of the answers, those of the input that are kept."""

    path: Path
    fields: tuple[str, ...]
    keep: list[str] | None


def output_of(path: Path, fields: str | None, keep: str | None) -> Output:
    """Check and return what is to be written.

    Raises:
        UsageError: a field isn't one of an answer, or the name doesn't say the form.
    """
    from serving.adapters.claim_files.form import form_of

    form_of(path)
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent), hint="make it first")
    return Output(path, chosen(_names(fields)), None if keep is None else _names(keep))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def score_file(
    workspace: Workspace,
    file: Path,
    output: Output,
    asked: Asked,
    way: Way,
    wait_s: float | None,
    *,
    quiet: bool,
) -> None:
    """Answer all claims of a file, and write its lines with their answers.

    Raises:
        UsageError: the file, a column or an option is wrong, or another batch has the output.
        StoreUnavailable: no decision came within `wait_s`.
    """
    from serving.adapters.claim_files.parts import Parts
    from serving.adapters.claim_files.reading import ClaimFile
    from serving.adapters.claim_files.writing import write_output

    source = ClaimFile(file, workspace.domain.claim)
    _check(source, file, output)
    COMMAND.set("score --out")  # what Ctrl-C leaves is another than that of a look at few claims
    parts = Parts(output.path)
    try:
        run = BatchRun(workspace, source, parts, asked, way, quiet=quiet)
        run.answer(wait_s)
        cells = source.columns if output.keep is None else output.keep
        lines = joined(source.rows(), run.answers(), output.fields, output.keep)
        with progress("write", source.lines(), quiet=quiet) as advance:
            write_output(output.path, parts.aside, lines, cells, output.fields, source.schema(),
                         advance)  # fmt: skip
        run.close()
        parts.remove()
    finally:
        parts.close()
    total = sum(run.counts.values())
    if quiet:
        print_json({"output": str(output.path), "lines": total, "answers": dict(run.counts)})
        return
    out.print(f"[bold]{total:,}[/] lines answered in {safe(output.path)}")
    for status, count in sorted(run.counts.items()):
        out.print(f"{count:>12,}  {status}")


def _check(source: ClaimFile, file: Path, output: Output) -> None:
    """Check that the output is another file, and that what is kept is there."""
    if output.path.exists() and output.path.samefile(file):
        raise UsageError("the output is the file of claims itself", where=str(output.path),
                         hint="name another file")  # fmt: skip
    missing = [name for name in output.keep or () if name not in source.columns]
    if missing and source.form != "ndjson":
        shown = ", ".join(source.columns[:_SHOWN_COLUMNS])
        raise UsageError(f"there is no column {missing[0]!r} to keep", where="--keep",
                         hint=f"the file has {shown}")  # fmt: skip
