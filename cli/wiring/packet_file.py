"""Write the packet of a decision to a file: `claimtrace explain CLAIM_ID --html FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from claimtrace.errors import UsageError

if TYPE_CHECKING:
    from serving.evidence.evidence import Evidence

    from .workspace import Workspace

ENDINGS = (".html", ".htm")


def write_packet(
    workspace: Workspace,
    evidence: Evidence,
    profile: str,
    file: Path,
    kept: Mapping[str, str] | None = None,
) -> str:
    """Write the packet to a new file; returns the SHA-256 of its bytes, for people to note.

    Args:
        workspace: its domain is that of the decision.
        evidence: of the decision.
        profile: a name of `serving.packet.PROFILES`.
        file: ends in .html; its folder exists.
        kept: packed texts of the journal by digest (`stream.journal.kept_texts`).

    Raises:
        UsageError: there is no such profile or folder, or the file exists.
        ModelError: the model that decided is not in the registry any more.
        StateError: a kept text isn't that of its digest.
    """
    from claimtrace.adapters.files.atomic_files import write_file
    from serving.packet import packet_of, profile_of
    from stream.journal.kept_texts import unpacked

    chosen = profile_of(profile)
    check_file(file)
    model = evidence.model
    baselines = {} if model is None else workspace.registry.load(model.ref).manifest.baselines
    named = {evidence.definitions, evidence.rules_digest}
    texts = {name: unpacked(name, text) for name, text in (kept or {}).items() if name in named}
    packet = packet_of(evidence, workspace.domain, baselines, chosen, texts)
    write_file(file, packet.page)
    return packet.digest


def check_file(file: Path) -> None:
    """Refuse a file that a packet isn't written to; asked before the evidence is gathered.

    Raises:
        UsageError: says what to name in its place.
    """
    if file.suffix not in ENDINGS or file.exists():
        hint = "name one that doesn't exist, such as claim.html"
        raise UsageError("the packet goes to a new .html file", where=str(file), hint=hint)
    if not file.parent.is_dir():
        hint = "make it first, or name another place for the packet"
        raise UsageError("there is no such folder", where=str(file.parent), hint=hint)
