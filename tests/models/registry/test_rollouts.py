"""Roll-outs in a registry: started, ended, in force or not, and proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import ClaimtraceError, ModelError, StateError
from models.registry.adapters.folder import FolderRegistry
from models.rollout.manifest import Canary, RolloutDraft
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

WHO: dict[str, Any] = {"actor": "ana", "reason": "why", "at_ms": 5}


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    made = FolderRegistry(tmp_path / "models", "claims")
    _, document = booster(6, trees=2, depth=2)
    for _ in range(3):
        made.publish(draft(), document, **WHO)
    made.move_alias("champion", 1, **WHO)
    return made


def a_draft(registry: FolderRegistry, share_ppm: int = 50_000) -> RolloutDraft:
    one, two, three = registry.versions()
    return RolloutDraft(
        created_at_ms=5, champion=one, canary=Canary(two, share_ppm, "salt"), shadows=[three]
    )


def test_started_read_and_ended(registry: FolderRegistry) -> None:
    assert registry.rollout_in_force() is None
    ref = registry.start_rollout(a_draft(registry), expected=None, **WHO)
    assert registry.rollout_in_force() == ref
    rollout = registry.rollout(ref)
    assert rollout == registry.rollout(1)
    assert rollout.models == registry.versions()
    grown = registry.start_rollout(a_draft(registry, 90_000), expected=1, **WHO)
    assert registry.rollout_in_force() == grown != ref
    registry.end_rollout(expected=2, **WHO)
    assert registry.rollout_in_force() is None
    assert registry.rollout(ref) == rollout, "a replay still reads it"
    assert [(e.act, e.version) for e in registry.history()[4:]] == [
        ("rollout_started", 1), ("rollout_started", 2), ("rollout_ended", 2)
    ]  # fmt: skip
    assert registry.verify() == []
    assert registry.aliases() == {"champion": 1}
    assert FolderRegistry(registry.folder.parent, "claims").history() == registry.history()


def test_of_two_that_decide_at_once_one_is_refused(registry: FolderRegistry) -> None:
    registry.start_rollout(a_draft(registry), expected=None, **WHO)
    for expected in (None, 7):
        with pytest.raises(StateError, match="roll-out 1 is in force"):
            registry.start_rollout(a_draft(registry), expected=expected, **WHO)
    registry.end_rollout(expected=1, **WHO)
    with pytest.raises(StateError, match="no roll-out is in force"):
        registry.end_rollout(expected=1, **WHO)
    assert registry.start_rollout(a_draft(registry), expected=None, **WHO).version == 2


def test_a_new_champion_ends_it(registry: FolderRegistry) -> None:
    registry.start_rollout(a_draft(registry), **WHO)
    registry.move_alias("champion", 2, **WHO)
    assert registry.rollout_in_force() is None
    with pytest.raises(StateError, match="version 1 isn't champion"):
        registry.start_rollout(a_draft(registry), **WHO)


def test_a_model_that_is_missing_is_refused(registry: FolderRegistry) -> None:
    one = registry.versions()[0]
    unknown = RolloutDraft(created_at_ms=5, champion=one, shadows=[ModelRef("claims", 9, "ab")])
    before = registry.history()
    with pytest.raises(ModelError, match="no version 9"):
        registry.start_rollout(unknown, **WHO)
    with pytest.raises(StateError, match="reason"):
        registry.start_rollout(a_draft(registry), actor="ana", reason=" ", at_ms=5)
    assert registry.history() == before


def test_changed_and_lost_files_are_found(registry: FolderRegistry) -> None:
    ref = registry.start_rollout(a_draft(registry), **WHO)
    path = registry.folder / "rollouts" / "000001.json"
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content.replace(b"50000", b"70000"))
    with pytest.raises(ModelError, match="digest of roll-out 1"):
        registry.rollout(ref)
    assert len(registry.verify()) == 1
    path.unlink()
    assert "can't be read" in registry.verify()[0]
    with pytest.raises(ClaimtraceError, match="no roll-out 4"):
        registry.rollout(4)
    path.write_bytes(content)
    with pytest.raises(ModelError, match="belongs to another registry"):
        registry.rollout(RolloutRef("claims", 1, "ab"))
    assert registry.verify() == []


def test_a_number_of_an_interrupted_start_is_not_used_again(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry, "_write", crash)
        with pytest.raises(KeyboardInterrupt):
            registry.start_rollout(a_draft(registry), **WHO)
    assert registry.rollout_in_force() is None
    assert registry.start_rollout(a_draft(registry), **WHO).version == 2
