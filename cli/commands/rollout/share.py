"""The share of a canary, as people write it and in parts per million."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from claimtrace.errors import UsageError


def ppm_of(text: str) -> int:
    """Return a share such as `5%` or `0.05` in parts per million.

    Raises:
        UsageError: it is no share, or not of whole parts per million.

    >>> ppm_of("5%"), ppm_of("0.05"), ppm_of("0.1 %")
    (50000, 50000, 1000)
    """
    bare = text.strip()
    in_percent = bare.endswith("%")
    try:
        value = Decimal(bare.removesuffix("%").strip()) * (10_000 if in_percent else 1_000_000)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value != int(value) or not 1_000 <= value <= 999_000:
        raise UsageError(f"{text!r} is no share", where="--share",
                         hint="write 5% or 0.05; from 0.1% to 99.9%")  # fmt: skip
    return int(value)


def share_text(ppm: int) -> str:
    """Return a share in percent.

    >>> share_text(50_000), share_text(1_250)
    ('5%', '0.125%')
    """
    return f"{ppm / 10_000:g}%"
