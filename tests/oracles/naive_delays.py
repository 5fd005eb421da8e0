"""The share of claims with a verdict by an age, one claim and one age at a time."""

from __future__ import annotations

from fractions import Fraction


def known_by(ages: list[tuple[int, bool]], age: int) -> Fraction:
    """Return the product-limit estimate.

    Args:
        ages: for each claim the age at its verdict and True, or its age now and False.
        age: the age asked for.
    """
    unknown = Fraction(1)
    for each in sorted({reached for reached, has_verdict in ages if has_verdict}):
        if each <= age:
            at_risk = sum(reached >= each for reached, _ in ages)
            verdicts = sum(has_verdict and reached == each for reached, has_verdict in ages)
            unknown *= 1 - Fraction(verdicts, at_risk)
    return 1 - unknown
