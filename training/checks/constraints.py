"""Limits for the data of each feature, in the form of SageMaker Model Monitor's constraints.json.

They are suggested from the data's past, and may be written to a file, edited, and given back as
`training.contract_file`. Names of the form are kept (`completeness`, `num_constraints`,
`inferred_type`, `monitoring_config`); `minimum`, `maximum` and `domains` of numbers are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from claimtrace.errors import ConfigError
from monitoring.windows.reference import FeatureReference

MOST_BYTES: Final = 4 * 2**20
"""Most bytes of a file of limits."""

DRIFT: Final = 0.75
"""The greatest difference of two cumulative shares that is taken for the market's: three quarters
of the claims on the other side of a value. A young history moves by half (shares of few verdicts);
a column in other units or stuck at a value, by nearly all. Smaller drift is for monitoring."""

LOST: Final = 0.3
"""The part of the claims by which a feature may become less complete."""

Kind = Literal["Integral", "Fractional", "Unknown"]


class NumConstraints(msgspec.Struct, frozen=True, omit_defaults=True):
    """Limits for the values of a numeric feature."""

    is_non_negative: bool = False
    minimum: float | None = None
    maximum: float | None = None
    domains: list[float] | None = None


class FeatureConstraints(msgspec.Struct, frozen=True):
    """Limits for one feature; `completeness` is the least share of claims that have a value."""

    name: str
    inferred_type: Kind = "Unknown"
    completeness: float = 0.0
    num_constraints: NumConstraints = NumConstraints()


class DistributionConstraints(msgspec.Struct, frozen=True):
    """Limits for drift: the `Robust` distance, or none where `perform_comparison` says so."""

    perform_comparison: str = "Enabled"
    comparison_threshold: float = DRIFT
    comparison_method: str = "Robust"


class MonitoringConfig(msgspec.Struct, frozen=True):
    """Limits for all features."""

    evaluate_constraints: str = "Enabled"
    datatype_check_threshold: float = 0.1
    domain_content_threshold: float = 0.1
    distribution_constraints: DistributionConstraints = DistributionConstraints()


class Constraints(msgspec.Struct, frozen=True):
    """Limits for the data of a training run."""

    version: float = 0
    features: list[FeatureConstraints] = []
    monitoring_config: MonitoringConfig = MonitoringConfig()

    @property
    def most_drift(self) -> float:
        """The greatest robust distance that is no violation; infinite if none is compared."""
        each = self.monitoring_config.distribution_constraints
        return each.comparison_threshold if each.perform_comparison == "Enabled" else math.inf


def read_constraints(content: bytes, where: str) -> Constraints:
    """Read limits from the bytes of a file.

    Raises:
        ConfigError: the bytes aren't limits, or there are too many of them; says where.

    >>> read_constraints(b'{"features": [{"name": "a", "completeness": 0.9}]}', "f").most_drift
    0.75
    """
    hint = "write one by `claimtrace train --contract-out`, and edit it"
    if len(content) > MOST_BYTES:
        raise ConfigError(f"more than {MOST_BYTES:,} bytes", where=where, hint=hint)
    try:
        found = msgspec.json.decode(content, type=Constraints)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"no limits for data: {error}", where=where, hint=hint) from None
    names = [each.name for each in found.features]
    twice = next((name for name in names if names.count(name) > 1), None) if (
        len(set(names)) < len(names)) else None  # fmt: skip
    if twice is not None:
        raise ConfigError(f"two limits for {twice}", where=where, hint="leave one of them")
    for each in found.features:
        if not 0 <= each.completeness <= 1:
            raise ConfigError(f"completeness of {each.name} is {each.completeness}", where=where,
                              hint="write a share, 0 .. 1")  # fmt: skip
    return found


def suggested(references: Sequence[FeatureReference], rows: int) -> Constraints:
    """Suggest limits from histograms of the past.

    A feature that was never negative has to stay so, and one of whole numbers whole; it may lose
    `LOST` of its values.

    Args:
        references: histograms of `rows` claims.
    """
    return Constraints(features=[_suggested(each, rows) for each in references])


def encoded(constraints: Constraints) -> bytes:
    """Return limits as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(constraints), indent=2) + b"\n"


def _suggested(each: FeatureReference, rows: int) -> FeatureConstraints:
    if len(each.edges) < 2:
        return FeatureConstraints(each.name)
    least = float(np.nextafter(each.edges[0], math.inf))
    is_whole = all(edge == math.floor(edge) for edge in each.edges[1:])
    completeness = 1 - each.missing / max(1, rows)
    return FeatureConstraints(
        name=each.name,
        inferred_type="Integral" if is_whole else "Fractional",
        completeness=max(0.0, round(completeness - LOST, 4)),
        num_constraints=NumConstraints(is_non_negative=least >= 0),
    )
