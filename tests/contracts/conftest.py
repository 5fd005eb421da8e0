"""Fixtures: the journals of all transports, each in its own store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.journal_grounds import JOURNALS, SERVERS, SHARED


@pytest.fixture(params=JOURNALS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A journal of each kind."""
    yield from _store(request, tmp_path, request.param)


@pytest.fixture(params=SHARED)
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A journal that several workers may append to at once."""
    yield from _store(request, tmp_path, request.param)


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The Kafka journal, to which any client can append any record."""
    yield from _store(request, tmp_path, "kafka")


@pytest.fixture
def items(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The journal in DynamoDB."""
    yield from _store(request, tmp_path, "dynamo")


def _store(request: pytest.FixtureRequest, folder: Path, name: str) -> Iterator[Any]:
    server = request.getfixturevalue(SERVERS[name]) if name in SERVERS else None
    made = JOURNALS[name](folder, server)
    yield made
    made.close()
