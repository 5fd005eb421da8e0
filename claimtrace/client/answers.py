"""Answers of the API that aren't decisions. Unknown fields of newer servers are left out."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..looks import AdvisoryDecision, AsOf


class NotScored(msgspec.Struct, frozen=True, kw_only=True):
    """Why a claim of a list has no score: it would be refused, or is decided already.

    `reason`, `field` and `hint` are those of the dead letter that it would become. With the reason
    `decided_already` the path of its decision is in `decision`.
    """

    reason: str
    field: str = ""
    hint: str = ""
    decision: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one claim of a list: exactly one of both."""

    score: AdvisoryDecision | UnsetType = UNSET
    not_scored: NotScored | UnsetType = UNSET


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a list of claims, in their order."""

    advisory: bool
    as_of: AsOf
    scores: list[Place]


class FeatureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The windows over one entity, or the fields of its profile, as the features know them now.

    `key` is the key as it was normalised, `changed_ms` the event time of a profile's last change
    (None for entities). A value is None where it is missing.
    """

    group: str
    kind: str
    key: str
    values: dict[str, float | str | None]
    changed_ms: int | None = None
    as_of: AsOf


class ModelShown(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the registry.

    `aliases` are those that point to it (the champion decides); `misfit` says why it can't score
    under the definitions of now, and is empty when it can.
    """

    name: str
    version: int
    digest: str
    aliases: list[str]
    loaded: bool = False
    misfit: str = ""


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The versions, the newest first; `most_loaded` stay in memory beside those in charge."""

    models: list[ModelShown]
    most_loaded: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A file of claims that the server works on.

    `state` is queued, running, done, failed or cancelled; `way` says whether its claims are looked
    at (`look`) or go onto the log (`claims`); `lines` are answered so far.
    """

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    way: str = msgspec.field(name="as")
    form: str
    gzip: bool = False
    fields: list[str] = []
    created_ms: int
    changed_ms: int
    in_bytes: int = 0
    lines: int = 0
    out_bytes: int = 0
    error: str = ""

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's jobs, the newest first."""

    jobs: list[Job]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Problem details of RFC 9457, as far as they are there."""

    title: str = ""
    detail: str = ""
    code: str = ""
    hint: str = ""
