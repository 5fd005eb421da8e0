"""A model fits definitions that have its features with the same digests, and other ones or not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import ModelError
from claimtrace.ids import digest
from models.artefact import Manifest, write_manifest
from models.fit import Misfit, misfit
from tests.compat.editions import HERE
from tests.worlds.artefacts import artefact_of, draft
from tests.worlds.boosters import booster

_, MODEL = booster()
NAMES = draft().features
DIGESTS = {name: digest(name.encode()) for name in NAMES}
OLD = artefact_of(MODEL).manifest
NEW = artefact_of(MODEL, feature_digests=DIGESTS).manifest
MORE = {"more": "0" * 64, "another": "1" * 64}


def test_a_manifest_without_digests_fits_its_whole_definitions_only() -> None:
    assert misfit(OLD, "d" * 64, {}) is None
    assert misfit(OLD, "d" * 64, DIGESTS) is None
    assert misfit(OLD, "e" * 64, DIGESTS) == Misfit(unknown=True)


@given(st.permutations([*DIGESTS.items(), *MORE.items()]))
def test_added_and_reordered_features_change_nothing(defined: list[tuple[str, str]]) -> None:
    assert misfit(NEW, "e" * 64, dict(defined)) is None


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_what_changed_and_what_is_gone_is_named(changed: set[str], gone: set[str]) -> None:
    defined = {**DIGESTS, **dict.fromkeys(changed, "f" * 64), **MORE}
    defined = {name: each for name, each in defined.items() if name not in gone}
    found = misfit(NEW, "d" * 64, defined)
    if not changed and not gone:
        assert found is None
        return
    assert found == Misfit(
        [name for name in NAMES if name in changed - gone], [name for name in NAMES if name in gone]
    )
    assert all(name in found.words for name in (*found.changed[:5], *found.missing[:5]))


def test_words_name_some_features_and_count_the_others() -> None:
    assert Misfit(changed=["a"]).words == "a changed"
    assert Misfit(missing=["a"]).words == "a is no longer defined"
    assert Misfit(changed=list("abc"), missing=list("de")).words == (
        "a, b and c changed; d and e are no longer defined"
    )
    assert Misfit(changed=list("abcdefgh")).words == "a, b, c, d, e and 3 more changed"


def test_bytes_of_manifests_from_before_stay_as_they_were() -> None:
    paths = sorted(HERE.glob("edition_[123]/folder/models/*/*/manifest.json"))
    assert paths
    for path in paths:
        content = path.read_bytes()
        manifest = msgspec.json.decode(content, type=Manifest)
        assert manifest.feature_digests is msgspec.UNSET
        assert msgspec.json.encode(manifest) == content


@pytest.mark.parametrize(
    "digests",
    [
        {},
        {name: DIGESTS[name] for name in NAMES[1:]},
        {**DIGESTS, "more": "0" * 64},
        {**DIGESTS, NAMES[0]: "0" * 63},
        {**DIGESTS, NAMES[0]: "0" * 63 + "G"},
    ],
)
def test_digests_of_other_features_are_refused(digests: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="feature digests"):
        write_manifest(draft(feature_digests=digests), "claims", 1, MODEL)
