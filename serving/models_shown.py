"""The registry's versions as the API shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from claimtrace.decisions import ModelRef


class ModelShown(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the registry.

    `aliases` are those that point to it (the champion decides), `loaded` whether looks have it in
    memory, and `misfit` why it can't score under the definitions of now, with both digests; empty
    when it can.
    """

    name: str
    version: int
    digest: str
    aliases: list[str]
    loaded: bool
    misfit: str


class Models(msgspec.Struct, frozen=True):
    """The versions, the newest first; `most_loaded` stay in memory beside those in charge."""

    models: list[ModelShown]
    most_loaded: int


def models_shown(
    published: Sequence[ModelRef],
    aliases: Mapping[str, int],
    loaded: Collection[ModelRef],
    misfits: Mapping[ModelRef, str],
    most_loaded: int,
) -> Models:
    """Join what the registry says with what is in memory.

    >>> ref = ModelRef("claims", 1, "ab")
    >>> models_shown([ref], {"champion": 1}, [ref], {}, 4).models[0].aliases
    ['champion']
    """
    shown = [
        ModelShown(
            name=ref.name,
            version=ref.version,
            digest=ref.digest,
            aliases=sorted(name for name, version in aliases.items() if version == ref.version),
            loaded=ref in loaded,
            misfit=misfits.get(ref, ""),
        )
        for ref in reversed(published)
    ]
    return Models(shown, most_loaded)
