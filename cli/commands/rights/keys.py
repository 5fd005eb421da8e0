"""`claimtrace keys`: make, list and revoke the API keys of `claimtrace serve`."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.clock import DAY_MS
from claimtrace.errors import UsageError

from ...console import out, print_json, safe, table
from ...wiring.access import key_table, record_act, this_user
from ...wiring.workspace import Workspace, os_user

if TYPE_CHECKING:
    from serving.rights.keys import KeyRecord

_MOST_DAYS = 3_650

app = typer.Typer(
    help="Make, list and revoke the API keys of `claimtrace serve`.", no_args_is_help=True
)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="What the key is for, such as claim-portal.")],
    role: Annotated[
        str, typer.Option(help="service, submitter, scorer, reader, investigator, auditor, ml or "
                          "monitor: docs/api-keys.md has what each may do.")
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="A single right beside the role's, or without a role; may be repeated."),
    ] = None,
    days: Annotated[int, typer.Option(help="Days until it expires; 0: never.")] = 365,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second; default: serve.rate_per_s.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="Requests at once; default: serve.rate_burst.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the key as JSON.")] = False,
) -> None:  # fmt: skip
    """Make a key and show it once: only its hash is stored, so nobody can show it again.

    A running server knows a new key within a second. The first key ends the time in which a server
    on 127.0.0.1 answers everybody.
    """
    from serving.rights.keys import ID_BYTES, SECRET_BYTES, check_new_key, make_key

    workspace: Workspace = ctx.obj
    scopes = tuple(dict.fromkeys(scope or ()))
    check_new_key(name, role, scopes)
    _check_numbers(days, rate, burst)
    key = make_key(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    record = _record(workspace, key.key_id, key.secret, name, role, scopes, days, rate, burst)
    keys = key_table(workspace)
    keys.create(workspace.clock)
    _note(workspace, "key.added", record)
    keys.add(record)
    if as_json:
        print_json({"key": key.text, "id": key.key_id, "name": name, "role": role,
                    "scopes": sorted(record.rights), "expires_ms": record.expires_ms})  # fmt: skip
        return
    typer.echo(key.text)
    may, until = ", ".join(sorted(record.rights)), _day(record.expires_ms)
    out.print(f"[dim]this is the only time that it is shown; it ends: {until}; it may: {may}[/]")
    out.print("[dim]callers send: Authorization: Bearer ct_...[/]")


@app.command("list")
def list_(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """Show all keys: name, role, state, when each ends and was last used. No secret is stored."""
    workspace: Workspace = ctx.obj
    now_ms = workspace.clock.now_ms()
    found = sorted(key_table(workspace).all(), key=lambda pair: pair[0].made_ms)
    if as_json:
        print_json([{
            "id": record.key_id, "name": record.name, "role": record.role,
            "scopes": sorted(record.rights), "state": record.state(now_ms),
            "made_ms": record.made_ms, "made_by": record.made_by,
            "expires_ms": record.expires_ms, "revoked_ms": record.revoked_ms,
            "last_used_ms": used_ms, "rate_per_s": record.rate.per_s, "burst": record.rate.burst,
        } for record, used_ms in found])  # fmt: skip
        return
    if not found:
        out.print("no key yet; [bold]claimtrace keys add[/] makes one")
        return
    rows = [
        [safe(record.key_id), safe(record.name), safe(record.role or ", ".join(record.scopes)),
         record.state(now_ms), _day(record.expires_ms), _day(used_ms)]
        for record, used_ms in found
    ]  # fmt: skip
    table("", ["id", "name", "role", "state", "ends", "last used"], rows)


@app.command()
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `keys list` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """End a key for good; running servers refuse it within a second."""
    from serving.rights.keys import read_key

    workspace: Workspace = ctx.obj
    if (whole := read_key(key_id)) is not None:
        key_id = whole.key_id  # somebody pasted the key itself
    keys = key_table(workspace)
    found = keys.find(key_id)
    if found is None:
        raise UsageError("there is no such key", where=keys.name,
                         hint="claimtrace keys list shows the ids")  # fmt: skip
    if not found.revoked_ms:
        _note(workspace, "key.revoked", found)
        found = keys.revoke(key_id, workspace.clock.now_ms())
    if as_json:
        print_json({"id": found.key_id, "name": found.name, "revoked_ms": found.revoked_ms})
        return
    out.print(f"{safe(found.key_id)} ({safe(found.name)}) is revoked")


def _check_numbers(days: int, rate: float | None, burst: int | None) -> None:
    for option, value, low, high in (
        ("--days", days, 0, _MOST_DAYS), ("--rate", rate, 0.01, 10**6),
        ("--burst", burst, 1, 10**6),
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            raise UsageError(f"{value} is not within {low} .. {high}", where=option,
                             hint=f"write a number from {low} to {high}")  # fmt: skip


def _record(
    workspace: Workspace, key_id: str, secret: str, name: str, role: str,
    scopes: tuple[str, ...], days: int, rate: float | None, burst: int | None,
) -> KeyRecord:  # fmt: skip
    from serving.rights.keys import KeyRecord, digest_of_secret
    from serving.rights.rate import Rate

    serve, now_ms = workspace.settings.serve, workspace.clock.now_ms()
    return KeyRecord(
        key_id=key_id, name=name, digest=digest_of_secret(secret), role=role, scopes=scopes,
        rate=Rate(rate or serve.rate_per_s, burst or serve.rate_burst),
        made_ms=now_ms, made_by=os_user(), expires_ms=now_ms + days * DAY_MS if days else 0,
    )  # fmt: skip


def _note(workspace: Workspace, kind: str, record: KeyRecord) -> None:
    """Record the change before it is made: a key that is on no audit can't come to be."""
    from serving.audit.event import Draft

    body: dict[str, str | int | bool] = {
        "role": record.role, "scopes": " ".join(sorted(record.rights)),
        "expires_ms": record.expires_ms,
    }  # fmt: skip
    draft = Draft(kind=kind, at_ms=workspace.clock.now_ms(), actor=this_user(),
                  subject=f"key:{record.key_id}", body=body)  # fmt: skip
    record_act(workspace, [draft])


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}" if at_ms else "never"
