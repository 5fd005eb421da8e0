"""A packet in a file: written once, with the digest of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from claimtrace.errors import UsageError
from claimtrace.settings.schema import Settings
from claimtrace_examples.auto_claims import DOMAIN
from cli.wiring.packet_file import write_packet
from cli.wiring.workspace import Workspace
from stream.journal.kept_texts import packed
from tests.serving.packet.cases import evidence


def test_the_file_has_the_digest_that_is_told(tmp_path: Path) -> None:
    workspace, file = Workspace(Settings(folder=str(tmp_path / "f"))), tmp_path / "claim.html"
    kept = packed([DOMAIN.definitions_text, DOMAIN.rules_text])
    told = write_packet(workspace, evidence({}, {}, model=None), "siu", file, kept)
    assert told == hashlib.sha256(file.read_bytes()).hexdigest()
    assert b"rule shared_bank_account" in file.read_bytes()
    with pytest.raises(UsageError, match=r"new \.html file"):
        write_packet(workspace, evidence({}, {}, model=None), "siu", file, kept)
    assert [each.name for each in tmp_path.iterdir()] == ["claim.html"]


@pytest.mark.parametrize(
    ("name", "profile", "what"),
    [("a.txt", "siu", r"new \.html file"), ("no/a.html", "siu", "no such folder"),
     ("a.html", "boss", "no profile 'boss'")],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, profile: str, what: str
) -> None:
    workspace = Workspace(Settings(folder=str(tmp_path / "f")))
    with pytest.raises(UsageError, match=what):
        write_packet(workspace, evidence({}, {}, model=None), profile, tmp_path / name)
    assert not list(tmp_path.iterdir())
