"""Which versions can serve under the definitions of the domain as it is now, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.artefact import Manifest

    from ...wiring.workspace import Workspace


def fit_row(workspace: Workspace, manifest: Manifest) -> list[str]:
    """Return the row of a table that says whether a version fits the definitions."""
    from models.fit import misfit

    domain = workspace.domain
    found = misfit(manifest, domain.definitions_digest, workspace.feature_digests)
    if found is not None:
        return ["fits", f"not the definitions of {domain.name} as they are now: {found.words}"]
    if manifest.definitions == domain.definitions_digest:
        return ["fits", f"the definitions of {domain.name} as they are now"]
    taken, defined = len(manifest.features), len(domain.features)
    return ["fits", f"the definitions of {domain.name} as they are now, by the digests of its "
            f"{taken:,} features; {defined:,} are defined"]  # fmt: skip


def misfits(workspace: Workspace) -> list[str]:
    """Return a line for each version with an alias that can't serve under the definitions."""
    lines = []
    for alias, version in workspace.registry.aliases().items():
        found = workspace.misfit(version)
        if found is not None:
            lines.append(f"{alias} {workspace.domain.name}/{version} doesn't fit the definitions, "
                         f"so no stream takes it: {found.words}")  # fmt: skip
    return lines
