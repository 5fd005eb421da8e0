"""Editions: numbered meanings of ids, labels and decisions; a journal says which one it has.

Whatever changes the bytes of a decision on the same log is part of a new edition. A journal keeps
its edition until `claimtrace upgrade` begins a newer one, so an old log replays to the same bytes
for as long as this version knows its edition (docs/upgrading.md).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .errors import StateError


class Edition(NamedTuple):
    """One edition.

    `since` is the first version of claimtrace that knows it.
    """

    number: int
    since: str
    changes: tuple[str, ...]
    """What differs from the edition before, in words for the user."""


EDITIONS: Final = (
    Edition(1, "0.1.0", ()),
    Edition(
        2,
        "0.2.0",
        (
            "ids: many more spellings of missing values link no claims; all dashes are one, and so "
            "is all white space",
            "labels: a claim has one verdict, the one decided last; `retracted` takes it back",
            "labels of the same millisecond as their claim join it",
        ),
    ),
    Edition(
        3,
        "0.2.0",
        (
            "roll-outs: plans may name one; decisions made under it have `schema_version` 2, with "
            "the arm and the verdicts of the other models",
        ),
    ),
    Edition(
        4,
        "0.2.0",
        (
            "decisions have `review_threshold`, and `schema_version` 3",
            "reviewed claims get reasons, too, where the journal was begun with "
            '`decision.reasons_for = "review"`',
            "the journal keeps the texts of definitions and rules: `claimtrace definitions`",
        ),
    ),
)
"""All editions that this version can run, the newest last."""

ROLLOUTS: Final = 3
"""The first edition in which a plan may name a roll-out."""

REVIEWS: Final = 4
"""The first edition whose decisions have the threshold for review, and that can give reasons for
reviewed claims."""

OLDEST: Final = EDITIONS[0].number
"""The edition of journals from before editions, which don't name one."""

NEWEST: Final = EDITIONS[-1].number
"""The edition of a journal that is begun now."""


def since(edition: int) -> str:
    """Return the first version that knows an edition."""
    return next(each.since for each in EDITIONS if each.number == edition)


def check_known(edition: int, needs: str, where: str) -> None:
    """Refuse an edition that this version doesn't know.

    Args:
        edition: as written in a journal.
        needs: the version that the journal says is needed; may be empty.
        where: the journal's name.

    Raises:
        StateError: the edition is newer than `NEWEST`, or no edition.
    """
    if OLDEST <= edition <= NEWEST:
        return
    raise StateError(
        f"the journal is of edition {edition}; this version knows editions up to {NEWEST}",
        where=where,
        hint=f"install claimtrace {needs or 'of a newer version'}"
        f"{' or newer' if needs else ''}: nothing was changed",
    )
