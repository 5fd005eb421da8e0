"""`claimtrace models mirror`: write the registry's versions to MLflow or SageMaker, one way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import ClaimtraceError, UsageError

from ...console import notify, out, print_json, progress, safe
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from models.mirrors.contents import Mirrored

mirror_app = typer.Typer(
    help="Write versions, states and aliases to MLflow or SageMaker; nothing is read back.",
    no_args_is_help=True,
)
_AsJson = Annotated[bool, typer.Option("--json", help="Print what was changed as JSON.")]


@mirror_app.command()
def mlflow(
    ctx: typer.Context,
    uri: Annotated[
        str, typer.Option(help="Address of the server; the setting mirrors.mlflow by default.")
    ] = "",
    as_json: _AsJson = False,
) -> None:
    """Write all versions to an MLflow server: metrics, settings, digests, files, state, aliases.

    Each is a run and a version of the registered model with the domain's name. What is there
    already is left as it is, so the command can be given again at any time.

    A name and password, or a token, come from MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
    """
    workspace: Workspace = ctx.obj
    address = uri or workspace.settings.mirrors.mlflow
    if not address:
        raise UsageError("no server is named", where="--uri",
                         hint="give --uri http://host:5000, or set mirrors.mlflow")  # fmt: skip
    with progress("mirror to mlflow", quiet=as_json):
        done = to_mlflow(workspace, address, "--uri" if uri else "mirrors.mlflow")
    _show(done, address, as_json=as_json)


@mirror_app.command()
def sagemaker(ctx: typer.Context, as_json: _AsJson = False) -> None:
    """Write all versions as packages of a SageMaker model package group, with their approval.

    Files go to the place in the setting mirrors.sagemaker. A package has the digests as customer
    metadata, the reports under their own kind, and a container only if mirrors.sagemaker_image
    names one. What is there already is left as it is; approvals follow ours.
    """
    workspace: Workspace = ctx.obj
    if not workspace.settings.mirrors.sagemaker:
        raise UsageError("no place for the files is named", where="mirrors.sagemaker",
                         hint="set it to s3://bucket/prefix")  # fmt: skip
    with progress("mirror to sagemaker", quiet=as_json):
        done = to_sagemaker(workspace)
    _show(done, _group(workspace), as_json=as_json)


def mirror_after_training(workspace: Workspace) -> None:
    """Write the mirrors that the settings name; what fails is a warning, never an error."""
    mirrors = workspace.settings.mirrors
    pushes: tuple[tuple[str, str, Callable[[], list[str]]], ...] = (
        ("mlflow", mirrors.mlflow, lambda: to_mlflow(workspace, mirrors.mlflow, "mirrors.mlflow")),
        ("sagemaker", mirrors.sagemaker, lambda: to_sagemaker(workspace)),
    )
    for name, wanted, push in pushes:
        if not wanted:
            continue
        try:
            push()
        except ClaimtraceError as error:
            notify(f"the model is published, but not mirrored to {name}: {error}; give `claimtrace "
                   f"models mirror {name}` when that is put right")  # fmt: skip


def to_mlflow(workspace: Workspace, address: str, where: str) -> list[str]:
    """Write all versions to a server; returns a line for each thing that was changed."""
    from models.mirrors.adapters.http_json import HttpJson
    from models.mirrors.adapters.mlflow import MlflowMirror

    server = HttpJson(
        address, where,
        username=os.environ.get("MLFLOW_TRACKING_USERNAME", ""),
        password=os.environ.get("MLFLOW_TRACKING_PASSWORD", ""),
        token=os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
    )  # fmt: skip
    ever = sorted({entry.alias for entry in workspace.registry.history() if entry.alias})
    return MlflowMirror(server, workspace.domain.name, notify).push(_versions(workspace), ever)


def to_sagemaker(workspace: Workspace) -> list[str]:
    """Write all versions as packages; returns a line for each thing that was changed."""
    from claimtrace.adapters.aws.client import aws_client
    from models.mirrors.adapters.sagemaker import SageMakerMirror

    settings = workspace.settings
    client, s3 = (aws_client(settings.kinesis, service) for service in ("sagemaker", "s3"))
    mirror = SageMakerMirror(
        client, s3, place=settings.mirrors.sagemaker, group=_group(workspace),
        image=settings.mirrors.sagemaker_image,
    )  # fmt: skip
    return mirror.push(_versions(workspace))


def _versions(workspace: Workspace) -> list[Mirrored]:
    from models.mirrors.contents import mirrored

    registry = workspace.registry
    entries, aliases = registry.history(), registry.aliases()
    found = [mirrored(registry.load(ref), entries, aliases) for ref in registry.versions()]
    if not found:
        raise UsageError("there is no model yet", where=workspace.domain.name,
                         hint="claimtrace train makes one")  # fmt: skip
    return found


def _group(workspace: Workspace) -> str:
    """Return the name of the group: AWS takes letters, digits and single dashes only."""
    named = re.sub(r"[^A-Za-z0-9]+", "-", workspace.domain.name).strip("-")[:63].rstrip("-")
    return workspace.settings.mirrors.sagemaker_group or named


def _show(done: list[str], place: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"place": place, "changed": done})
        return
    for line in done:
        out.print(safe(line))
    if not done:
        out.print(f"{safe(place)} has everything already")
