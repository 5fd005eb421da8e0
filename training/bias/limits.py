"""Limits of bias, and the gate that compares the metrics of a model with them.

A limit is one number for each metric: a difference or distance may be that far from 0, a ratio at
least the number and at most its inverse. A limit is violated only if the whole interval lies beyond
it, as the bias monitor of Amazon SageMaker Clarify has it: a small group raises no false alarm.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Final

from claimtrace.errors import ConfigError

from ..release.gates import Gate
from .measure import FacetBias, Measure
from .metrics import AFTER, FT, METRICS

DEFAULT_LIMITS: Final[Mapping[str, float]] = {"DI": 0.8, "DPPL": 0.1, "RD": 0.05, "HRR": 0.5}
"""Limits unless the settings say others.

DI: the four-fifths rule of the US guidelines on employee selection (29 CFR 1607.4 D). DPPL and RD:
at most 10 of 100 claims, and 5 of 100 legitimate ones, are referred for no other reason than the
group. As most claims pass, these three hardly bind; HRR is the one that looks at the referred: a
legitimate claim of the group may be referred at most twice as often as one of the others, or half.
"""

_SETTING: Final = "training.bias_limits"
_LIMITABLE: Final = tuple(each.code for each in (*AFTER, FT))


def limits_of(own: Mapping[str, float]) -> dict[str, float]:
    """Return the default limits with the user's own in their place.

    Raises:
        ConfigError: a metric isn't known (the hint names the nearest), or a number makes no limit.

    >>> limits_of({"rd": 0.02})["RD"]
    0.02
    >>> limits_of({"DPP": 0.1})
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: no bias metric of outcomes DPP [training.bias_limits] (did you
    mean DPPL?)
    """
    limits = dict(DEFAULT_LIMITS)
    for name, limit in own.items():
        code = name.upper()  # a variable's name has no case
        if code not in _LIMITABLE:
            near = difflib.get_close_matches(code, _LIMITABLE, n=1)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(_LIMITABLE)
            raise ConfigError(f"no bias metric of outcomes {name}", where=_SETTING, hint=hint)
        is_ratio = METRICS[code].kind == "ratio"
        if not (math.isfinite(limit) and limit >= 0 and (limit <= 1 or not is_ratio)):
            what = "a ratio's limit is within 0 .. 1" if is_ratio else "a limit is 0 or more"
            raise ConfigError(f"{name} = {limit:g}: {what}", where=_SETTING, hint="0.8 allows 0.8 "
                              "to 1.25" if is_ratio else "0.1 allows -0.1 to 0.1")  # fmt: skip
        limits[code] = limit
    return limits


def range_of(code: str, limit: float) -> tuple[float, float]:
    """Return the allowed range of a metric.

    >>> range_of("DI", 0.8), range_of("RD", 0.05)
    ((0.8, 1.25), (-0.05, 0.05))
    """
    if METRICS[code].kind == "ratio":
        return limit, 1 / limit if limit else math.inf
    return -limit, limit


def is_violated(measure: Measure, limit: float) -> bool:
    """Whether the interval of an evaluated metric and the allowed range have nothing in common."""
    if measure.state != "evaluated" or measure.low is None or measure.high is None:
        return False
    least, most = range_of(measure.metric, limit)
    return measure.high < least or measure.low > most


def bias_gate(facets: Sequence[FacetBias], limits: Mapping[str, float]) -> Gate:
    """Compare the metrics of all facets with the limits.

    Failed if a limit is violated; not evaluable if the domain marks no facets, or none of the
    limited metrics could be evaluated.

    Args:
        limits: from `limits_of`.
    """
    violated, passed, unknown = [], [], []
    for each in facets:
        for code, limit in limits.items():
            found = each.measure(code)
            if found is None or found.state != "evaluated":
                unknown.append(f"{each.facet} {code}")
            elif is_violated(found, limit):
                least, most = range_of(code, limit)
                violated.append(
                    f"{each.facet}: {code} {found.value:.3f} ({found.low:.3f} .. {found.high:.3f}) "
                    f"is beyond {least:g} .. {most:g}"
                )
            else:
                passed.append(f"{each.facet} {code}")
    evidence = "bias: " + (", ".join(each.facet for each in facets) or "no facets")
    if violated:
        return Gate(name="bias", state="failed", words="; ".join(violated), evidence=evidence)
    if not passed:
        words = "none of the limited metrics could be evaluated" if facets else (
            "the domain marks no facets")  # fmt: skip
        return Gate(name="bias", state="not evaluable", words=words, evidence=evidence)
    words = f"no limit is violated by {len(passed)} metrics of {len(facets)} facets"
    if unknown:
        words += f"; not evaluated: {', '.join(unknown)}"
    return Gate(name="bias", state="passed", words=words, evidence=evidence)
