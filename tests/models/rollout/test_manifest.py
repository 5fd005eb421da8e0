"""A roll-out is read as it was written; anything else is refused with its reason."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import ModelError
from claimtrace.ids import digest
from models.rollout.manifest import Canary, Guards, RolloutDraft, read_rollout, write_rollout

REFS = [ModelRef("claims", version, f"{version:064d}") for version in range(1, 8)]
DRAFT = RolloutDraft(
    created_at_ms=7, champion=REFS[0], canary=Canary(REFS[1], 50_000, "salt"), shadows=REFS[2:4]
)


def changed(**fields: object) -> RolloutDraft:
    return msgspec.structs.replace(DRAFT, **fields)


def test_it_is_read_as_it_was_written() -> None:
    content, ref = write_rollout(DRAFT, "claims", 3)
    read = read_rollout(content, ref)
    assert read.models == REFS[:4]
    assert read.roles == ["champion", "canary", "shadow", "shadow"]
    assert (ref.name, ref.version, ref.digest) == ("claims", 3, digest(content))
    assert write_rollout(DRAFT, "claims", 3) == (content, ref)


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (changed(canary=None, shadows=[]), "two models or more"),
        (changed(shadows=[REFS[0]]), "each once"),
        (changed(shadows=[REFS[1]]), "each once"),
        (changed(shadows=REFS[2:7]), "5 shadows"),
        (changed(canary=Canary(REFS[1], 0, "")), "0 parts per million"),
        (changed(canary=Canary(REFS[1], 999_001, "")), "999,001 parts per million"),
        (changed(guards=Guards(window_ms=0)), "limit of the guards"),
        (changed(guards=Guards(min_count=0)), "limit of the guards"),
        (changed(guards=Guards(referral_ratio=1.0)), "limit of the guards"),
        (changed(guards=Guards(score_psi=float("nan"))), "not a roll-out|limit of the guards"),
    ],
)
def test_a_contradiction_is_refused(draft: RolloutDraft, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        write_rollout(draft, "claims", 1)


def test_another_number_and_other_bytes_are_refused() -> None:
    content, ref = write_rollout(DRAFT, "claims", 3)
    with pytest.raises(ModelError, match="digest of roll-out 3"):
        read_rollout(content.replace(b"50000", b"60000"), ref)
    with pytest.raises(ModelError, match="belongs to claims roll-out 3"):
        read_rollout(content, RolloutRef("claims", 4, ref.digest))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(content: bytes) -> None:
    with pytest.raises(ModelError):
        read_rollout(content, RolloutRef("claims", 1, digest(content)))
