"""`claimtrace doctor`: check the installation, the log, the state, the models and the stores."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from claimtrace.editions import NEWEST
from claimtrace.errors import ClaimtraceError, ConfigError, NoJournal, StateError
from claimtrace.rooms import HOME, ROOMS
from claimtrace.settings.schema import KINESIS

from ...console import hanging, print_json, safe
from ...transports.choice import open_transport
from ...wiring.workspace import CHAMPION, Workspace
from .doctor_samples import sample_log, sample_offline
from .doctor_serving import check_serving
from .doctor_sharing import check_sharing

_LEAST_FREE_BYTES = 2**30
_INDENT = 20


class Finding(msgspec.Struct, frozen=True):
    """The finding of one check, with a hint when the check failed."""

    check: str
    ok: bool
    found: str
    hint: str = ""


def check_rooms() -> None:
    """Refuse to start when another package shadows a room, such as a user's own `stream.py`.

    Raises:
        ConfigError: names the room and the file that shadows it.
    """
    for room in ROOMS:
        spec = find_spec(room)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if origin is None or origin.parent.parent != HOME:
            raise ConfigError(
                f"the package {room} is not claimtrace's",
                where=str(origin or "nowhere"),
                hint=f"rename it, or start from another folder: {room} must come from {HOME}",
            )


def doctor(
    ctx: typer.Context,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read all of log and offline store, instead of a sample."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the installation, the log, the state, the models and the settings; say what to fix.

    A sample is read of everything that is called ok: batches of each partition of an embedded log,
    the newest snapshot, the registry, and files of each offline table, which are compared with the
    digests of their commits.
    """
    findings = list(_examine(ctx.obj, deep=deep))
    if as_json:
        print_json(findings)
    else:
        for each in findings:
            mark = "[green]ok[/]  " if each.ok else "[red]fix[/] "
            hanging(f"{mark} {each.check:<14} ", safe(each.found), _INDENT)
            if each.hint and not each.ok:
                hanging(" " * _INDENT, f"[dim]{safe(each.hint)}[/]", _INDENT)
    if not all(each.ok for each in findings):
        raise typer.Exit(1)


def _examine(workspace: Workspace, *, deep: bool = False) -> Iterator[Finding]:
    checks: tuple[tuple[str, Callable[[Workspace], str]], ...] = (
        ("python", _python),
        ("rooms", _rooms),
        ("examples", _examples),
        ("domain", _domain),
        ("folder", _folder),
        ("log", partial(_log, deep=deep)),
        ("log and state", _log_and_state),
        ("state", _state),
        ("models", _models),
        ("offline store", partial(sample_offline, deep=deep)),
        ("who may call", check_serving),
    )
    if workspace.settings.source != "local":
        checks = (*checks, ("sharing", check_sharing))
    if workspace.settings.source.startswith(KINESIS):
        checks = (*checks, ("reading", _reading))
    for name, check in checks:
        try:
            yield Finding(name, True, check(workspace))
        except ClaimtraceError as error:
            where = f" [{error.where}]" if error.where else ""
            yield Finding(name, False, f"{error.what}{where}", error.hint)


def _python(_: Workspace) -> str:
    return f"{sys.version.split()[0]} at {sys.prefix}"


def _rooms(_: Workspace) -> str:
    from importlib.metadata import packages_distributions

    check_rooms()
    owners = packages_distributions()
    for room in ROOMS:
        others = sorted(set(owners.get(room, [])) - {"claimtrace"})
        if others:
            raise ConfigError(
                f"the package {room} is also in the distribution {others[0]}",
                hint=f"remove it: pip uninstall {others[0]}, then install claimtrace again",
            )
    return f"all from {HOME}"


def _examples(_: Workspace) -> str:
    folder = HOME / "claimtrace_examples"
    return f"{folder}: auto_claims, card_payments, claim.json, claims.csv, replay_claims.toml"


def _domain(workspace: Workspace) -> str:
    domain = workspace.domain
    return (
        f"{domain.name}: {len(domain.features)} features, {len(domain.rules)} rules, "
        f"{len(domain.facets)} facets, definitions {domain.definitions_digest[:12]}"
    )


def _folder(workspace: Workspace) -> str:
    parent = next(p for p in (workspace.folder, *workspace.folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if free < _LEAST_FREE_BYTES:
        raise ConfigError(f"only {free / 2**20:,.0f} MiB are free", where=str(parent),
                          hint="free disk space: a full disk pauses the stream")  # fmt: skip
    return f"{workspace.folder} ({free / 2**30:,.0f} GiB free)"


def _log(workspace: Workspace, *, deep: bool) -> str:
    if workspace.settings.source != "local":
        from ..events.topics import check_topics

        return check_topics(workspace)
    if not workspace.log_path.exists():
        if workspace.journal_path.exists():
            raise StateError("it is gone, but its journal is here", where=str(workspace.log_path),
                             hint="restore log.db from a copy")  # fmt: skip
        return "none yet; claimtrace simulate makes one"
    return sample_log(workspace, deep=deep)


def _log_and_state(workspace: Workspace) -> str:
    """Compare the log with the state beside it; also without a journal, as it may be lost."""
    is_local = workspace.settings.source == "local"
    if is_local and not workspace.log_path.exists():
        return "nothing to compare yet"
    hint = (
        "or begin anew with `claimtrace stream --new-journal`" if is_local else
        "or start anew: new topics or streams, and another group or table"
    )  # fmt: skip
    with open_transport(workspace) as transport:
        for problem in transport.disagreements():
            raise StateError(problem, hint=f"restore what was lost from a copy; {hint}")
    return "they belong together"


def _reading(workspace: Workspace) -> str:
    from ...transports.kinesis import KinesisTransport

    transport = KinesisTransport(workspace)
    with transport:
        return transport.check_reading()


def _state(workspace: Workspace) -> str:
    from stream.adapters.snapshots.snapshots import Snapshots

    if not workspace.has_journal:
        return "none yet; claimtrace stream makes one"
    last = edition = 0
    try:
        with open_transport(workspace) as transport:
            edition = transport.terms().edition
            for plan in transport.plans():
                last, edition = plan.number, plan.edition or edition
    except NoJournal:
        return "none yet; claimtrace stream makes one"
    newest = Snapshots(workspace.state_folder / "snapshots").newest()
    at = newest[0] if newest else 0
    behind = "" if edition == NEWEST else f" ({NEWEST} is the newest: docs/upgrading.md)"
    return f"{last:,} plans, edition {edition}{behind}, newest snapshot at plan {at:,}"


def _models(workspace: Workspace) -> str:
    broken = workspace.registry.verify()
    if broken:
        in_folder = workspace.models_folder is not None
        raise ConfigError(broken[0], hint="restore the models' folder from a copy" if in_folder else
                          "restore the objects from their older versions or a copy")  # fmt: skip
    ref = workspace.registry.alias(CHAMPION)
    if ref is None:
        return "no champion yet: rules decide alone; claimtrace train makes one"
    if (found := workspace.misfit(ref)) is not None:
        raise ConfigError(f"{ref.label} doesn't fit the definitions: {found.words}",
                          hint="train again: claimtrace train")  # fmt: skip
    scorer = workspace.scorer_of(ref)
    notes = f"; {'; '.join(scorer.notes)}" if scorer.notes else ""
    return f"champion {ref.label}, {scorer.kernel} kernel{notes}"
