"""Attachments of a version: stored beside the model, found when edited, absent before."""

from __future__ import annotations

import msgspec
import pytest

from claimtrace.errors import ModelError
from claimtrace.ids import digest
from models.artefact import MANIFEST_FILE, MAX_BYTES
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

_, MODEL = booster()
WHO = {"actor": "ana", "reason": "because"}
PAGE = b"<!doctype html>quality"


@pytest.fixture
def registry(tmp_path) -> FolderRegistry:
    made = FolderRegistry(tmp_path / "models")
    made.publish(draft(), MODEL, at_ms=1, **WHO)
    made.publish(draft(), MODEL, at_ms=2, attachments={"report.html": PAGE}, **WHO)
    return made


def edit(registry: FolderRegistry, content: bytes | None) -> None:
    path = registry.folder / "000002" / "report.html"
    path.chmod(0o600)
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def test_an_attachment_is_read_with_its_version(registry: FolderRegistry) -> None:
    assert registry.attachment(2, "report.html") == PAGE
    assert registry.load(2).manifest.attached == {"report.html": digest(PAGE)}
    assert registry.verify() == []


def test_a_version_without_attachments_has_the_manifest_that_it_always_had(
    registry: FolderRegistry,
) -> None:
    content = (registry.folder / "000001" / MANIFEST_FILE).read_bytes()
    assert list(msgspec.json.decode(content))[-1] == "model_bytes"
    assert registry.load(1).manifest.attached == {}
    with pytest.raises(ModelError, match=r"version 1 has no report\.html"):
        registry.attachment(1, "report.html")


@pytest.mark.parametrize("content", [PAGE.replace(b"quality", b"Quality"), b"", None])
def test_an_edited_or_lost_attachment_is_found(
    registry: FolderRegistry, content: bytes | None
) -> None:
    edit(registry, content)
    with pytest.raises(ModelError):
        registry.attachment(2, "report.html")
    problems = registry.verify()
    assert len(problems) == 1
    assert "000002" in problems[0]
    registry.load(2)  # what decides doesn't depend on it


@pytest.mark.parametrize(
    "name", ["../report.html", "a/b", "manifest.json", "model.json", "", "Report.html", "x" * 65]
)
def test_unsafe_names_are_refused_before_anything_is_written(
    registry: FolderRegistry, name: str
) -> None:
    with pytest.raises(ModelError):
        registry.publish(draft(), MODEL, at_ms=3, attachments={name: PAGE}, **WHO)
    assert len(registry.versions()) == 2
    assert not (registry.folder / "000003").exists()


def test_an_attachment_too_large_to_be_read_is_not_published(registry: FolderRegistry) -> None:
    large = bytes(MAX_BYTES + 1)
    with pytest.raises(ModelError, match="larger than"):
        registry.publish(draft(), MODEL, at_ms=3, attachments={"report.html": large}, **WHO)
