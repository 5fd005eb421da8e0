"""`claimtrace backup`: a consistent copy of log, state, offline store, models, keys and audit."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace import __version__
from claimtrace.errors import NoJournal, StoreUnavailable, UsageError

from ...console import out, print_json, safe
from ...wiring.access import AUDIT_FILE, KEYS_FILE
from ...wiring.workspace import CONFIG_NAME, Workspace

if TYPE_CHECKING:
    from claimtrace.adapters.embedded_log.log_copy import LogCopy
    from claimtrace.adapters.files.file_copies import FileCopies, Manifest

_TRIES = 5
_S3 = "s3://"


def backup(
    ctx: typer.Context,
    destination: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest without its files as JSON.")
    ] = False,
) -> None:
    """Copy the folder while a worker runs: log, journal, snapshots, offline store and models.

    The copy is of one moment: it opens, verifies, and streams on after `claimtrace restore`. A
    manifest with the digest of each file is written last; a copy without one isn't whole.

    On Kafka and Kinesis the log and the journal are on the cluster: docs/backup.md says what the
    topics must keep.
    """
    workspace: Workspace = ctx.obj
    with _aside(workspace, destination) as folder:
        manifest, digest = _copy_all(workspace, folder)
    if as_json:
        told = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
        print_json({**told, "files": len(manifest.files), "manifest_sha256": digest})
        return
    size = sum(each.size for each in manifest.files)
    out.print(f"[bold]{len(manifest.files):,}[/] files, {size / 2**20:,.1f} MiB, in "
              f"{safe(destination)}", soft_wrap=True)  # fmt: skip
    out.print(f"  up to plan {manifest.last_plan:,}, snapshot of plan {manifest.snapshot_plan:,}")
    for line in manifest.left_out:
        out.print(f"  [yellow]not in it: {safe(line)}[/]", soft_wrap=True)
    out.print(f"  [dim]manifest sha256 {digest}: keep it elsewhere[/]", soft_wrap=True)


@contextmanager
def _aside(workspace: Workspace, destination: Path) -> Iterator[Path]:
    """Yield a folder beside the destination; it gets that name when all is in it.

    Raises:
        UsageError: the destination exists, or lies inside of a part that is copied.
        StateError: another backup to the same destination runs.
    """
    from claimtrace.adapters.files.atomic_files import sync_folder
    from claimtrace.adapters.files.folder_lock import FolderLock

    target = destination.resolve()
    if target.exists():
        raise UsageError("the destination exists already", where=str(destination),
                         hint="name a new folder for each backup")  # fmt: skip
    parts = [workspace.state_folder, workspace.models_folder, _offline_folder(workspace)]
    for part in parts:
        if part is not None and part.resolve() in (target, *target.parents):
            raise UsageError("the destination lies inside of what is copied", where=str(part),
                             hint="name a folder outside of it")  # fmt: skip
    if not workspace.folder.is_dir():
        raise UsageError("there is nothing to copy", where=str(workspace.folder),
                         hint="name the folder of a stream by --folder")  # fmt: skip
    aside = target.with_name(f".{target.name}.unfinished")
    try:
        with FolderLock(aside):
            inner = aside / "copy"
            shutil.rmtree(inner, ignore_errors=True)  # of a backup that was killed
            inner.mkdir()
            try:
                yield inner
                inner.rename(target)
                sync_folder(target.parent)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the copy can't be written: {error.strerror}",
            where=str(error.filename or destination),
            hint="look at the disk's space and the rights",
        ) from error


def _copy_all(workspace: Workspace, folder: Path) -> tuple[Manifest, str]:
    """Copy every part, in the order that keeps them consistent.

    A worker journals a plan, puts its decisions on the log, appends its rows, and only then
    publishes a snapshot that covers it. The copies are made the other way round, so that each part
    knows at least what the part before it needs: the note of finished effects and the snapshots,
    then the rows, then the log, then the journal, up to the last plan whose decisions the log's
    copy has; the models last, because plans name them.
    """
    from claimtrace.adapters.files.file_copies import FileCopies, Manifest

    settings, copies = workspace.settings, FileCopies(folder)
    left_out: list[str] = []
    snapshot_plan = _copy_snapshots(workspace, copies)
    tables = _copy_offline(workspace, copies, left_out)
    log = _copy_log(workspace, copies, left_out)
    last_plan = _copy_journal(workspace, copies, log)
    _copy_models(workspace, copies, left_out)
    _copy_access(workspace, copies, left_out)
    for path in sorted([workspace.folder / CONFIG_NAME, *workspace.folder.glob("truth*.parquet")]):
        if path.is_file():
            copies.add(path, path.name)
    manifest = Manifest(
        version=__version__,
        made_at_ms=workspace.clock.now_ms(),
        domain=settings.domain,
        source=settings.source,
        last_plan=last_plan,
        snapshot_plan=snapshot_plan,
        log_records=log.records if log is not None else {},
        tables=tables,
        models=settings.models,
        offline=settings.offline,
        left_out=left_out,
        files=copies.files,
    )
    return manifest, copies.finish(manifest)


def _copy_snapshots(workspace: Workspace, copies: FileCopies) -> int:
    """Copy the note of finished effects, then the snapshots; returns the newest one's plan."""
    state = workspace.state_folder
    if (state / "reached").is_file():
        copies.add(state / "reached", "state/reached")
    for _ in range(_TRIES):
        try:
            names = sorted((state / "snapshots").glob("snapshot-*.bin"))
            for path in names:
                copies.add(path, f"state/snapshots/{path.name}")
        except FileNotFoundError:  # a newer one was published meanwhile, and this one removed
            copies.drop("state/snapshots/")
            continue
        return int(names[-1].stem.rpartition("-")[2]) if names else 0
    raise StoreUnavailable("snapshots go while they are copied", where=str(state),
                           hint="try again; or raise stream.snapshot_every")  # fmt: skip


def _copy_offline(workspace: Workspace, copies: FileCopies, left_out: list[str]) -> dict[str, int]:
    """Copy the newest version of each table; returns the versions."""
    from featurestore.offline.adapters.delta_copy import copy_table, table_folders

    folder = _offline_folder(workspace)
    if folder is None:
        left_out.append(f"the offline store {workspace.settings.offline}: use the bucket's "
                        "versioning or replication")  # fmt: skip
        return {}
    versions = {}
    for table in table_folders(folder):
        below = f"offline/{table.name}/"

        def add(path: Path, name: str, below: str = below) -> None:
            copies.add(path, below + name)

        def drop(below: str = below) -> None:
            copies.drop(below)

        versions[table.name] = copy_table(table, add, drop)
    return versions


def _copy_log(workspace: Workspace, copies: FileCopies, left_out: list[str]) -> LogCopy | None:
    """Copy the embedded log; returns what it holds, or None when the log is on a cluster."""
    from claimtrace.adapters.embedded_log.log_copy import LogCopy, copy_log
    from stream.adapters.embedded.log import PRODUCER

    if workspace.settings.source != "local":
        left_out.append(f"the log {workspace.settings.source}, with its inputs, journal and "
                        "decisions: docs/backup.md says what the topics must keep")  # fmt: skip
        return None
    if not workspace.log_path.exists():
        return LogCopy({}, 0)
    copied = copy_log(workspace.log_path, copies.new("log.db"), PRODUCER)
    copies.note("log.db")
    return copied


def _copy_journal(workspace: Workspace, copies: FileCopies, log: LogCopy | None) -> int:
    from stream.adapters.embedded.journal_copy import copy_journal

    up_to = log.sequence if log is not None else None
    try:
        last = copy_journal(workspace.journal_path, copies.new("state/journal"), up_to)
    except NoJournal:
        return 0
    copies.note("state/journal")
    return last


def _copy_models(workspace: Workspace, copies: FileCopies, left_out: list[str]) -> None:
    """Copy each registry under the lock that its writers hold."""
    root = workspace.models_folder
    if root is None:
        left_out.append(f"the models {workspace.settings.models}: use the bucket's versioning or "
                        "replication; claimtrace models export copies one")  # fmt: skip
        return
    for log in sorted(root.glob("*/approvals.log")):
        with log.open("rb") as locked:
            fcntl.flock(locked, fcntl.LOCK_EX)
            for path in sorted(log.parent.rglob("*")):
                if path.is_file() and not any(p.startswith(".aside-") for p in path.parts):
                    copies.add(path, f"models/{path.relative_to(root).as_posix()}")


def _copy_access(workspace: Workspace, copies: FileCopies, left_out: list[str]) -> None:
    """Copy the API keys' hashes and the audit of `claimtrace serve`."""
    from claimtrace.adapters.embedded_log.log_copy import copy_pages

    if workspace.settings.serve.keys:
        left_out.append(f"the API keys in {workspace.settings.serve.keys}")
    for name in (AUDIT_FILE, KEYS_FILE):
        if (workspace.folder / name).is_file():
            target = copies.new(name)
            copy_pages(workspace.folder / name, target, name)
            target.chmod(0o600)
            copies.note(name)


def _offline_folder(workspace: Workspace) -> Path | None:
    """Return the folder of the offline store; None when it is in a bucket."""
    place = workspace.settings.offline
    if place.startswith(_S3):
        return None
    return Path(place) if place else workspace.folder / "offline"
