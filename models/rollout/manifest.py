"""Roll-outs: immutable, versioned statements of which models score beside the champion.

    NAME/rollouts/000001.json    its SHA-256 is the roll-out's digest

A plan of the journal names the roll-out in force by name, version and digest; whoever applies the
plan reads this manifest, and nothing else says which models score and which one decides.
"""

from __future__ import annotations

from typing import Final

import msgspec

from claimtrace.clock import DAY_MS
from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import ModelError
from claimtrace.ids import digest

WHOLE_PPM: Final = 1_000_000
"""All claims, in parts per million."""
LEAST_SHARE_PPM: Final = 1_000
"""Least share of an arm: a tenth of a percent."""
MOST_SHADOWS: Final = 4
MAX_BYTES: Final = 64 * 2**10
"""Size limit of a manifest."""


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that decides on a share of the claims.

    `salt` is hashed with a policy's id into the policy's place: with the same salt a greater share
    has all policies of the smaller one.
    """

    model: ModelRef
    share_ppm: int
    salt: str


class Guards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits that end a canary, judged on tiles of event time without lateness.

    Champion and canary score the same claims, so both are judged on all claims of a tile.

    Attributes:
        window_ms: width of a tile.
        min_count: claims that a tile needs to be judged.
        referral_ratio: the canary may refer this many times as many claims as the champion, or as
            many times fewer; the difference must be significant, too.
        error_ratio: share of claims without a valid score that the canary may have more.
        unseen_ratio: share of claims with a category that its training didn't have, beyond the
            share in its training; the champion's, measured in the same way, is taken off.
        score_psi: population stability index of the canary's scores against those of its training,
            beyond chance; the champion's, measured in the same way, is taken off.
    """

    window_ms: int = 900_000
    min_count: int = 100
    referral_ratio: float = 1.5
    error_ratio: float = 0.001
    unseen_ratio: float = 0.05
    score_psi: float = 0.25


class RolloutDraft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A roll-out before the registry gives it a number.

    Attributes:
        created_at_ms: when it was made, in ms.
        champion: the model in charge; it decides wherever the canary doesn't.
        canary: the model that decides on a share; None: shadows alone.
        shadows: models that score and never decide.
        guards: what ends the canary.
        may_roll_back: whether a breach of the guards ends the roll-out without asking anyone: the
            standing approval.
    """

    schema_version: int = 1
    created_at_ms: int
    champion: ModelRef
    canary: Canary | None = None
    shadows: list[ModelRef] = []
    guards: Guards = Guards()
    may_roll_back: bool = False


class Rollout(RolloutDraft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A roll-out with its name, that of its models, and its number."""

    name: str
    version: int

    @property
    def models(self) -> list[ModelRef]:
        """All models: the champion, the canary if there is one, the shadows."""
        canary = [self.canary.model] if self.canary is not None else []
        return [self.champion, *canary, *self.shadows]

    @property
    def roles(self) -> list[str]:
        """The roles of `models`."""
        canary = ["canary"] if self.canary is not None else []
        return ["champion", *canary, *("shadow" for _ in self.shadows)]


def write_rollout(draft: RolloutDraft, name: str, version: int) -> tuple[bytes, RolloutRef]:
    """Encode the manifest of a roll-out; returns its bytes and their reference.

    Raises:
        ModelError: it would be refused on reading.

    >>> refs = [ModelRef("claims", n, "ab") for n in (1, 2)]
    >>> draft = RolloutDraft(created_at_ms=0, champion=refs[0], shadows=refs[1:])
    >>> content, ref = write_rollout(draft, "claims", 1)
    >>> read_rollout(content, ref).models == refs
    True
    """
    fields = {field: getattr(draft, field) for field in RolloutDraft.__struct_fields__}
    content = msgspec.json.encode(Rollout(**fields, name=name, version=version))
    ref = RolloutRef(name, version, digest(content))
    read_rollout(content, ref)
    return content, ref


def read_rollout(content: bytes, ref: RolloutRef, where: str = "") -> Rollout:
    """Verify the bytes of a roll-out against its reference, then parse and check them.

    Raises:
        ModelError: the digest differs, or the manifest is damaged, belongs to another number, or
            contradicts itself.
    """
    where = where or ref.label
    if len(content) > MAX_BYTES or digest(content) != ref.digest:
        raise ModelError(
            f"the digest of roll-out {ref.version} is not the one that was recorded", where=where,
            hint="the file was changed or damaged; restore it from a copy",
        )  # fmt: skip
    try:
        rollout = msgspec.json.decode(content, type=Rollout)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a roll-out: {error}", where=where) from error
    if (rollout.name, rollout.version) != (ref.name, ref.version):
        raise ModelError(f"the manifest belongs to {rollout.name} roll-out {rollout.version}",
                         where=where, hint="restore the file from a copy")  # fmt: skip
    _check(rollout, where)
    return rollout


def _check(rollout: Rollout, where: str) -> None:
    canary, guards, models = rollout.canary, rollout.guards, rollout.models
    if len(rollout.shadows) > MOST_SHADOWS:
        raise ModelError(f"{len(rollout.shadows)} shadows", where=where,
                         hint=f"at most {MOST_SHADOWS} score beside the champion")  # fmt: skip
    if len(set(models)) < len(models) or len(models) < 2:
        raise ModelError("a roll-out has two models or more, each once", where=where,
                         hint="name a canary or a shadow that isn't the champion")  # fmt: skip
    most = WHOLE_PPM - LEAST_SHARE_PPM
    if canary is not None and not LEAST_SHARE_PPM <= canary.share_ppm <= most:
        raise ModelError(f"a share of {canary.share_ppm:,} parts per million", where=where,
                         hint=f"from {LEAST_SHARE_PPM:,} to {most:,}: 50,000 is 5 %")  # fmt: skip
    limits = (guards.error_ratio, guards.unseen_ratio, guards.score_psi)
    sound = 1_000 <= guards.window_ms <= 31 * DAY_MS and 1 <= guards.min_count <= 10**9
    # written so that NaN is refused too
    if not (sound and guards.referral_ratio > 1.0 and all(limit >= 0.0 for limit in limits)):
        raise ModelError("a limit of the guards is out of range", where=where,
                         hint="the window is from a second to a month, min_count at least 1, "
                         "referral_ratio above 1, others at least 0")  # fmt: skip
