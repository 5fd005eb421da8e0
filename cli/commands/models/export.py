"""`claimtrace models export`: one version with its history, for another tool or an auditor."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from claimtrace.errors import UsageError

from ...console import out, safe
from ...mistakes import check_writable
from ...wiring.workspace import Workspace
from .changes import Version

if TYPE_CHECKING:
    from models.artefact import Artefact
    from models.registry.approvals_log import ApprovalsLog

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_README: Final = """\
# {label}

A version of a model of claimtrace, as it was published: nothing here was changed.

    manifest.json     what the model is: features, thresholds, calibration, quality, lineage
    model.json        the trees, in XGBoost's own JSON: xgboost.Booster(model_file="model.json")
    approvals.jsonl   the lines of the approvals log about this version: who decided what, and why

## Checked with any tool

    sha256sum manifest.json    must be {manifest}
    sha256sum model.json       must be {model}

The first is the version's digest. It stands in the line `published` of approvals.jsonl, and on
every decision that the model made (`model.digest`). The second stands in the manifest, as
`model_digest`.

Each line of approvals.jsonl ends with `chain`: the SHA-256 over the chain of the line before in the
registry's log (64 zeros before the first) and this line without `,"chain":"..."`. Lines about other
versions lie between, so the chain as a whole is proven on the registry: claimtrace models check.

A score is the margin (`output_margin=True`) through the curve `calibration` of the manifest: a
piecewise linear function from margins to probabilities.
"""


def export(
    ctx: typer.Context,
    version: Version,
    to: Annotated[
        Path, typer.Option("--out", help="A new folder, or a new file that ends in .zip.")
    ],
) -> None:
    """Write a version with its history to a folder or a .zip file, for other tools and audits.

    In it: the manifest, the model as XGBoost's JSON, the lines of the approvals log about it, and a
    README that says how any tool checks the digests. The same version gives the same bytes.
    """
    from claimtrace.adapters.files.atomic_files import write_file, write_folder

    workspace: Workspace = ctx.obj
    workspace.published(version)
    _check_new(to)
    artefact, registry = workspace.registry.load(version), workspace.registry
    files = files_of(artefact, registry.files(version), registry.approvals())
    if to.suffix == ".zip":
        write_file(to, zipped(files, f"{artefact.ref.name}-{version}"))
    else:
        write_folder(to, files, 0o644)
    out.print(f"{safe(artefact.ref.label)} in {safe(to)}: {len(files)} files, "
              f"{sum(map(len, files.values())):,} bytes", soft_wrap=True)  # fmt: skip
    out.print(f"[dim]to check it: sha256sum manifest.json gives\n{artefact.ref.digest}[/]")


def files_of(
    artefact: Artefact, published: Mapping[str, bytes], log: ApprovalsLog
) -> dict[str, bytes]:
    """Return the files of an export by their names.

    Args:
        published: the files of the version, as they are in the registry.
        log: the approvals log.
    """
    version = artefact.ref.version
    lines = [log.text(entry.number) for entry in log.about(version)]
    readme = _README.format(
        label=artefact.ref.label, manifest=artefact.ref.digest,
        model=artefact.manifest.model_digest,
    )  # fmt: skip
    return {**published, "approvals.jsonl": b"".join(lines), "README.md": readme.encode()}


def zipped(files: Mapping[str, bytes], folder: str) -> bytes:
    """Return the bytes of a .zip file: stored, with fixed times, so that they are always equal.

    Compressed bytes would depend on the version of zlib.
    """
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(f"{folder}/{name}", _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)
    return sink.getvalue()


def _check_new(to: Path) -> None:
    if to.exists():
        raise UsageError("there is something of this name", where=str(to),
                         hint="name a new folder, or a new .zip file")  # fmt: skip
    if not to.absolute().parent.is_dir():
        raise UsageError("there is no such folder", where=str(to.parent),
                         hint="make it first, or name another place")  # fmt: skip
    check_writable(to.absolute().parent)
