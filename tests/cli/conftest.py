"""Fixtures: a folder of an earlier edition that this version went on with, and a copy to damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.damaged_folder import copied, edition_domain, lived_folder


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of an edition in which this version has streamed further events."""
    with edition_domain():
        yield lived_folder(tmp_path_factory.mktemp("lived") / "folder")


@pytest.fixture
def folder(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to be damaged; the current folder is the one it lies in."""
    monkeypatch.chdir(tmp_path)
    return copied(lived, tmp_path / "copy")
