"""`claimtrace doctor`: is everything here as it must be?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from claimtrace.errors import ClaimtraceError, ConfigError, NoJournal
from claimtrace.rooms import HOME, ROOMS
from claimtrace.settings.schema import KINESIS

from ...console import out, print_json, safe
from ...wiring.workspace import CHAMPION, Session

_LEAST_FREE_BYTES = 2**30


class Finding(msgspec.Struct, frozen=True):
    """One check: what it found, and what to do when it isn't well."""

    check: str
    ok: bool
    found: str
    hint: str = ""


def check_rooms() -> None:
    """Refuse to start when a room is not ours: a `stream.py` of the user's can shadow it.

    Raises:
        ConfigError: names the room and where it was found instead.
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the installation, the log, the state, the models and the settings; say what to mend."""
    findings = list(_examine(ctx.obj))
    if as_json:
        print_json(findings)
    else:
        for each in findings:
            mark = "[green]ok[/]  " if each.ok else "[red]mend[/]"
            out.print(f"{mark} {each.check:<14} {safe(each.found)}")
            if each.hint and not each.ok:
                out.print(f"     {'':<14} [dim]{safe(each.hint)}[/]")
    if not all(each.ok for each in findings):
        raise typer.Exit(1)


def _examine(session: Session) -> Iterator[Finding]:
    checks: tuple[tuple[str, Callable[[Session], str]], ...] = (
        ("python", _python),
        ("rooms", _rooms),
        ("examples", _examples),
        ("domain", _domain),
        ("folder", _folder),
        ("log", _log),
        ("state", _state),
        ("models", _models),
        ("offline store", _offline),
    )
    if session.settings.source.startswith(KINESIS):
        checks = (*checks, ("reading", _reading))
    for name, check in checks:
        try:
            yield Finding(name, True, check(session))
        except ClaimtraceError as error:
            where = f" [{error.where}]" if error.where else ""
            yield Finding(name, False, f"{error.what}{where}", error.hint)


def _python(_: Session) -> str:
    return f"{sys.version.split()[0]} at {sys.prefix}"


def _rooms(_: Session) -> str:
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


def _examples(_: Session) -> str:
    folder = HOME / "claimtrace_examples"
    return f"{folder}: auto_claims, card_payments, claims.csv, replay_claims.toml"


def _domain(session: Session) -> str:
    domain = session.domain
    return (
        f"{domain.name}: {len(domain.features)} features, {len(domain.rules)} rules, definitions "
        f"{domain.definitions_digest[:12]}"
    )


def _folder(session: Session) -> str:
    parent = next(p for p in (session.folder, *session.folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if free < _LEAST_FREE_BYTES:
        raise ConfigError(f"only {free / 2**20:,.0f} MiB are free", where=str(parent),
                          hint="free disk space: a full disk pauses the stream")  # fmt: skip
    return f"{session.folder} ({free / 2**30:,.0f} GiB free)"


def _log(session: Session) -> str:
    if session.settings.source != "local":
        from ..events.topics import check_topics

        return check_topics(session)
    if not session.log_path.exists():
        return "none yet; claimtrace simulate makes one"
    log = session.log()
    try:
        ends = {topic: sum(log.ends(topic)) for topic in sorted(log.topics())}
    finally:
        log.close()
    return ", ".join(f"{topic} {count:,}" for topic, count in ends.items())


def _reading(session: Session) -> str:
    from ...transports.kinesis import KinesisTransport

    transport = KinesisTransport(session)
    with transport:
        return transport.check_reading()


def _state(session: Session) -> str:
    from stream.adapters.snapshots.snapshots import Snapshots

    if not session.has_journal:
        return "none yet; claimtrace stream makes one"
    last = 0
    try:
        with session.transport() as transport:
            for plan in transport.plans():
                last = plan.number
    except NoJournal:
        return "none yet; claimtrace stream makes one"
    newest = Snapshots(session.state_folder / "snapshots").newest()
    at = newest[0] if newest else 0
    return f"{last:,} plans, newest snapshot at plan {at:,}"


def _models(session: Session) -> str:
    broken = session.registry.verify()
    if broken:
        raise ConfigError(broken[0], hint="restore the models' folder from a copy")
    ref = session.registry.alias(CHAMPION)
    if ref is None:
        return "no champion yet: rules decide alone; claimtrace train makes one"
    scorer = session.scorer_of(ref)
    if scorer.manifest.definitions != session.domain.definitions_digest:
        raise ConfigError(f"{ref.label} was trained under other definitions",
                          hint="train again: claimtrace train")  # fmt: skip
    notes = f"; {'; '.join(scorer.notes)}" if scorer.notes else ""
    return f"champion {ref.label}, {scorer.kernel} kernel{notes}"


def _offline(session: Session) -> str:
    tables = session.offline.tables()
    return (
        ", ".join(f"{name} v{version}" for name, version in sorted(tables.items())) or "empty yet"
    )
