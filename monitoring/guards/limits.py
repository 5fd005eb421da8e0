"""The limits of a canary, judged on one tile of its results and one of the champion's.

Both models score every claim, so both tiles hold the same claims: what the claims themselves do
(a busy Monday, a storm) is on both sides.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..statistics.distances import psi, rate_difference, significant
from ..windows.reference import Reference
from ..windows.tile import Tile

SIGNIFICANCE: Final = 0.001
"""Greatest p-value of a difference in referrals or scores that counts."""

REFERRALS: Final = "referral rate"
ERRORS: Final = "model errors"
UNSEEN: Final = "unseen categories"
SCORES: Final = "score drift"


class Limits(NamedTuple):
    """The differences that a canary may have: see `models.rollout.manifest.Guards`."""

    min_count: int
    referral_ratio: float
    error_ratio: float
    unseen_ratio: float
    score_psi: float


class Side(NamedTuple):
    """The tile of one model and the reference from its training."""

    tile: Tile
    reference: Reference


def breaches(champion: Side, canary: Side, limits: Limits) -> dict[str, str]:
    """Return what a canary breaches in a tile, in words by subject; none for too few claims."""
    if canary.tile.n < limits.min_count:
        return {}
    found = {
        ERRORS: _errors(champion.tile, canary.tile, limits),
        REFERRALS: _referrals(champion.tile, canary.tile, limits),
        SCORES: _scores(champion, canary, limits),
        UNSEEN: _unseen(champion, canary, limits),
    }
    return {subject: words for subject, words in found.items() if words}


def _errors(champion: Tile, canary: Tile, limits: Limits) -> str:
    more = (canary.unscored - champion.unscored) / canary.n
    if more <= limits.error_ratio:
        return ""
    return (
        f"no valid score for {canary.unscored:,} of {canary.n:,} claims,"
        f" the champion's {champion.unscored:,}"
    )


def _referrals(champion: Tile, canary: Tile, limits: Limits) -> str:
    found = rate_difference(champion.referred, champion.n, canary.referred, canary.n)
    many, few = max(canary.referred, champion.referred), min(canary.referred, champion.referred)
    if found.p >= SIGNIFICANCE or many <= limits.referral_ratio * few:
        return ""
    return f"refers {found.ratio:.2%} of the claims, the champion {found.reference_ratio:.2%}"


def _scores(champion: Side, canary: Side, limits: Limits) -> str:
    mine = psi(canary.reference.score.counts, canary.tile.score_counts)
    theirs = psi(champion.reference.score.counts, champion.tile.score_counts)
    excess = mine.value - mine.expected - max(theirs.value - theirs.expected, 0.0)
    if mine.p >= SIGNIFICANCE or significant(excess) <= limits.score_psi:
        return ""
    return (
        f"scores differ from its training, PSI {mine.value:.3f},"
        f" the champion's by {theirs.value:.3f}"
    )


def _unseen(champion: Side, canary: Side, limits: Limits) -> str:
    share = canary.tile.unseen / canary.tile.n
    before, theirs = (
        each.reference.unseen / each.reference.n if each.reference.n else 0.0
        for each in (canary, champion)
    )
    more = share - before - max(share - theirs, 0.0)
    if more <= limits.unseen_ratio:
        return ""
    return f"{share:.2%} of the claims have a category unseen in training, {before:.2%} had then"
