"""`claimtrace restore`: put a backup into an empty folder, each file compared with its digest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import StoreUnavailable, UsageError

from ...console import out, print_json, safe
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from claimtrace.adapters.files.file_copies import Manifest

_OWN = ("models/", "offline/")
"""Parts that may lie outside of the folder; everything else is put into it."""


def restore(
    ctx: typer.Context,
    backup: Annotated[Path, typer.Argument(help="A folder that `claimtrace backup` has made.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was put where.")] = False,
) -> None:
    """Put a backup into the folder that --folder names, which must be empty or not there.

    Every file is compared with its digest in the manifest before anything is put in place; a backup
    that is damaged or was never finished is refused, and nothing is left behind.

    If the settings `models` or `offline` name folders of their own, those parts go there.
    """
    from claimtrace.adapters.files.file_copies import check_complete, read_manifest

    workspace: Workspace = ctx.obj
    manifest = read_manifest(backup)
    places = _places(workspace)
    for place in places.values():
        if backup.resolve() in (place.resolve(), *place.resolve().parents):
            raise UsageError("the folder lies inside of the backup", where=str(place),
                             hint="name a folder outside of it")  # fmt: skip
        if place.is_symlink() or (place.exists() and (not place.is_dir() or any(place.iterdir()))):
            raise UsageError("the folder isn't empty", where=str(place),
                             hint="name a new one by --folder: nothing is replaced")  # fmt: skip
    check_complete(backup, manifest)
    try:
        _put(backup, manifest, places)
    except OSError as error:
        raise StoreUnavailable(
            f"the backup can't be put there: {error.strerror}",
            where=str(error.filename or workspace.folder),
            hint="look at the disk's space and the rights",
        ) from error
    if as_json:
        print_json({"folders": {name: str(place) for name, place in places.items()},
                    "files": len(manifest.files), "last_plan": manifest.last_plan})  # fmt: skip
        return
    _show(workspace, manifest, places)


def _places(workspace: Workspace) -> dict[str, Path]:
    """Return the folder of each part: "" is the workspace's own."""
    settings = workspace.settings
    places = {"": workspace.folder}
    if settings.models and workspace.models_folder is not None:
        places["models/"] = workspace.models_folder
    if settings.offline and "://" not in settings.offline:
        places["offline/"] = Path(settings.offline)
    return places


def _put(backup: Path, manifest: Manifest, places: dict[str, Path]) -> None:
    """Copy all parts beside their places, and rename them when all of them are whole."""
    from claimtrace.adapters.files.atomic_files import make_folder, sync_folder
    from claimtrace.adapters.files.file_copies import copy_checked

    asides: list[tuple[Path, Path]] = []
    try:
        for below, place in places.items():
            aside = place.resolve().with_name(f".{place.resolve().name}.unfinished")
            make_folder(aside.parent)
            shutil.rmtree(aside, ignore_errors=True)  # of a restore that was killed
            aside.mkdir()
            asides.append((aside, place.resolve()))
            elsewhere = tuple(each for each in places if each)
            wanted = [
                each for each in manifest.files
                if (each.path.startswith(below) if below else not each.path.startswith(elsewhere))
            ]  # fmt: skip
            copy_checked(backup, wanted, aside, below)
        for aside, place in reversed(asides):  # the folder itself last: with it, all is there
            if place.exists():
                place.rmdir()  # it was empty
            aside.rename(place)
            sync_folder(place.parent)
    finally:
        for aside, _ in asides:
            shutil.rmtree(aside, ignore_errors=True)


def _show(workspace: Workspace, manifest: Manifest, places: dict[str, Path]) -> None:
    out.print(f"[bold]{len(manifest.files):,}[/] files in {safe(workspace.folder)}, up to plan "
              f"{manifest.last_plan:,}; each is as the manifest says", soft_wrap=True)  # fmt: skip
    for name, place in places.items():
        if name:
            out.print(f"  {name} in {safe(place)}", soft_wrap=True)
    for name, setting in (("models/", manifest.models), ("offline/", manifest.offline)):
        if setting and name not in places:
            out.print(f"[yellow]the backup's settings kept {name} in {safe(setting)}; it is in "
                      f"{safe(workspace.folder / name)} now[/]", soft_wrap=True)  # fmt: skip
    for line in manifest.left_out:
        out.print(f"[yellow]not in the backup: {safe(line)}[/]", soft_wrap=True)
    at = f"--folder {safe(workspace.folder)} "
    out.print(f"[dim]next[/]\n  claimtrace {at}doctor\n  claimtrace {at}verify", soft_wrap=True)
