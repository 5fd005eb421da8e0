"""The origin of a version in its manifest, beside the rows: settings, code, the champion before.

The runner records it when a version is published, so that the lineage graph (`models.lineage`) can
be drawn from the registry alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

import claimtrace
from claimtrace.decisions import ModelRef
from claimtrace.ids import digest_of
from claimtrace.settings.schema import Settings
from models.artefact import Draft

SECTIONS = ("training", "decision", "drift")
"""The sections of the settings that can change a model. Others name places and secrets."""


def with_origin(
    draft: Draft,
    *,
    settings: Settings,
    fitter: str,
    champion: ModelRef | None,
    feature_digests: Mapping[str, str],
) -> Draft:
    """Return a draft with its origin in the lineage, and with the digests of its features.

    Args:
        champion: the champion when the run began; None if there was none.
        feature_digests: by name; empty where the definitions of the claims aren't known.
    """
    chosen = {name: msgspec.to_builtins(getattr(settings, name)) for name in SECTIONS}
    origin: dict[str, Any] = {
        "settings": {"digest": digest_of(chosen), **chosen},
        "code": {"claimtrace": claimtrace.__version__, "fitter": fitter},
        "champion_before": msgspec.to_builtins(champion) if champion else None,
    }
    digests = {name: feature_digests[name] for name in draft.features if name in feature_digests}
    return msgspec.structs.replace(
        draft,
        lineage={**draft.lineage, **origin},
        feature_digests=digests if len(digests) == len(draft.features) else msgspec.UNSET,
    )
