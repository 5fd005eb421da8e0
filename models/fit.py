"""Whether a model can serve under some definitions: the features that it takes, by their digests.

A model fits definitions that have its features under the same names with the same digests; what
else they define, and in which order, doesn't matter. A manifest from before there were digests of
features fits the definitions that it was trained under, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .artefact import Manifest

_MOST_NAMED = 5


class Misfit(msgspec.Struct, frozen=True):
    """Why a model can't serve under some definitions.

    Attributes:
        changed: features of the model that have another meaning now, in the model's order.
        missing: features of the model that aren't defined any more.
        unknown: whether the definitions are others, and there are no digests to compare.

    >>> Misfit(changed=["claim.hour"], missing=["a", "b"]).words
    'claim.hour changed; a and b are no longer defined'
    """

    changed: list[str] = []
    missing: list[str] = []
    unknown: bool = False

    @property
    def words(self) -> str:
        """The reason in words, with the features that changed."""
        parts = []
        if self.unknown:
            parts.append("it was trained under other definitions, and there are no digests of "
                         "features to compare")  # fmt: skip
        if self.changed:
            parts.append(f"{_listed(self.changed)} changed")
        if self.missing:
            verb = "is" if len(self.missing) == 1 else "are"
            parts.append(f"{_listed(self.missing)} {verb} no longer defined")
        return "; ".join(parts)


def misfit(manifest: Manifest, definitions: str, digests: Mapping[str, str]) -> Misfit | None:
    """Return why a model can't serve under some definitions; None if it can.

    Args:
        manifest: of the model.
        definitions: digest of the definitions as a whole.
        digests: digest of each of their features, by name.
    """
    trained = manifest.feature_digests
    if trained is msgspec.UNSET:
        return None if manifest.definitions == definitions else Misfit(unknown=True)
    changed = [n for n in manifest.features if n in digests and digests[n] != trained[n]]
    missing = [name for name in manifest.features if name not in digests]
    return Misfit(changed, missing) if changed or missing else None


def _listed(names: list[str]) -> str:
    shown = names[:_MOST_NAMED]
    if len(names) > len(shown):
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
