"""What the features know of one entity now: its windows, or its newest profile."""

from __future__ import annotations

from typing import Literal

import msgspec

from claimtrace.errors import UsageError
from claimtrace.limits import MAX_ID_CHARS
from claimtrace.looks import AsOf
from featurestore.definitions.domain import Domain
from stream.engine.engine import Engine


class NoSuchGroup(UsageError):
    """The domain has no kind of entity, and no profile group, of this name."""


class BadKey(UsageError):
    """A key that no event could carry."""


class FeatureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one entity, as of the newest event time among claims.

    `values` are the windows over the entity as a claim filed at `as_of.watermark_ms` would count
    them, without that claim; or the fields of its profile that features read. Null is missing.
    `key` is the key as it was normalised, `changed_ms` the event time of a profile's last change.
    """

    group: str
    kind: Literal["entity", "profile"]
    key: str
    values: dict[str, float | str | None]
    changed_ms: int | None
    as_of: AsOf


def group_names(domain: Domain) -> list[str]:
    """Return the names of the domain's kinds of entities and of its profile groups."""
    return sorted({e.name for e in domain.entities} | {g.name for g in domain.groups})


def check_group(domain: Domain, group: str, key: str) -> None:
    """Refuse names and keys that nothing has.

    Raises:
        NoSuchGroup, BadKey: see there.
    """
    if group not in group_names(domain):
        raise NoSuchGroup("the domain has no such group", where="group",
                          hint=f"one of {', '.join(group_names(domain))}")  # fmt: skip
    if not 1 <= len(key) <= MAX_ID_CHARS or any(c < " " or "\ud800" <= c < "\ue000" for c in key):
        raise BadKey(f"a key is 1 to {MAX_ID_CHARS} characters, none of them a control character",
                     where="key", hint="write it as a claim would")  # fmt: skip


def feature_group(engine: Engine, group: str, key: str, now_ms: int) -> FeatureGroup | None:
    """Return what is known of an entity; None when no claim or change has named it.

    Args:
        engine: between two plans; it isn't changed.
        group, key: as `check_group` lets them pass.
        now_ms: for the age of the state.
    """
    watermark = engine.watermark_ms
    if watermark is None:
        return None
    found = engine.intake.features.look.entity(group, key, watermark)
    if found is None:
        return None
    is_profile = any(each.name == group for each in engine.domain.groups)
    return FeatureGroup(
        group=group,
        kind="profile" if is_profile else "entity",
        key=found.key,
        values=found.values,
        changed_ms=found.changed_ms,
        as_of=engine.as_of(now_ms),
    )
