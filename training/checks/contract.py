"""The data contract: what the newest claims must have in common with those before.

Broken data is found before a model learns from it: a column that is suddenly empty, in other units,
negative, or stuck at one value. The limits are suggested from the past, and wide on purpose: that
claims change is the business of monitoring. Limits of the user's own are strict.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.windows.reference import FeatureReference, Reference, bin_counts, build_reference

from ..data.dataset import Dataset
from ..release.gates import Gate
from .constraints import Constraints, FeatureConstraints, suggested

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_ROWS: Final = 200
"""Fewer claims than this on either side say nothing."""

NEWEST: Final = 0.25
"""The newest share of the claims that is compared with those before, where no model says more."""

PARTS: Final = 4
"""Parts of time that the newest claims are checked in, so that a short fault isn't averaged out."""

NAMED: Final = 5
"""Claims that a violation names."""

TOLERATED: Final = 0.01
"""The share of the claims that may break a suggested limit for values."""

Check = Literal[
    "data_type_check", "completeness_check", "range_check", "categorical_values_check",
    "missing_column_check", "baseline_drift_check",
]  # fmt: skip


class Violation(msgspec.Struct, frozen=True):
    """One limit that the data breaks, under Model Monitor's names.

    `claims` counts the claims that break it, and `claim_ids` names the first of them. Of drift they
    are those where there are most too many.
    """

    feature_name: str
    constraint_check_type: Check
    description: str
    claims: int = 0
    claim_ids: list[str] = []


class Contract(msgspec.Struct, frozen=True):
    """The result of a comparison: what was compared, and what breaks its limits.

    Attributes:
        basis: what the limits were suggested from, in words.
        reference, checked: claims of the past, and claims that were checked.
        limits: the user's own limits.
        violations: the worst by number of claims first.
        accepted: whether the training went on in spite of violations.
    """

    basis: str
    reference: int
    checked: int
    limits: int
    violations: list[Violation]
    accepted: bool = False


def contract_of(
    dataset: Dataset, since_ms: int | None, reference: Reference | None,
    moving: Collection[str] = (), own: Constraints | None = None,
) -> tuple[Contract, Constraints]:  # fmt: skip
    """Compare the newest claims with those before; returns the contract and the limits suggested.

    Args:
        since_ms: claims filed from here on are checked; None: the newest quarter.
        reference: the champion's reference; None: the claims before.
        moving: features that follow the calendar, whose drift means nothing.
        own: the user's limits; a feature in them has no suggested limits.
    """
    times = dataset.event_times_ms
    fair = np.flatnonzero(dataset.fair)
    basis = "the champion's claims"
    current = fair if since_ms is None else fair[times[fair] >= since_ms]
    if reference is None or since_ms is None or len(current) < LEAST_ROWS:
        start = times[fair[int((1 - NEWEST) * len(fair))]]
        current, basis = fair[times[fair] >= start], "the claims before"
    past = fair[times[fair] < times[current[0]]]
    if reference is None or reference.names != dataset.features:
        reference, basis = _reference_of(dataset, past), "the claims before"
    limits = suggested(reference.features, reference.n)
    found = list[Violation]()
    if min(len(current), reference.n) >= LEAST_ROWS:
        parts = np.array_split(current, min(PARTS, max(1, len(current) // LEAST_ROWS)))
        found += _merged([
            each
            for part in parts
            for each in _suggested_broken(dataset, part, reference, limits, moving, own)
        ])  # fmt: skip
    if own is not None:
        rows = np.arange(len(times)) if since_ms is None else np.flatnonzero(times >= since_ms)
        found += _own_broken(dataset, rows, own)
    found.sort(key=lambda each: (-each.claims, each.feature_name, each.constraint_check_type))
    contract = Contract(
        basis=basis, reference=reference.n, checked=len(current),
        limits=len(own.features) if own is not None else 0, violations=found,
    )  # fmt: skip
    return contract, limits


def contract_gate(contract: Contract) -> Gate:
    """Return the gate of a contract: failed with any violation, accepted or not."""
    evidence = "contract"
    if contract.violations:
        first = contract.violations[0]
        words = f"{len(contract.violations)} limits are broken, first {first.feature_name}: " + (
            first.description)  # fmt: skip
        if contract.accepted:
            words += "; the training went on, as asked for"
        return Gate(name="contract", state="failed", words=words, evidence=evidence)
    if min(contract.checked, contract.reference) < LEAST_ROWS and not contract.limits:
        words = f"fewer than {LEAST_ROWS} claims to compare"
        return Gate(name="contract", state="not evaluable", words=words, evidence=evidence)
    words = f"{contract.checked:,} claims keep the limits of {contract.basis}"
    return Gate(name="contract", state="passed", words=words, evidence=evidence)


def robust_distance(past: Sequence[int] | Ints, now: Sequence[int] | Ints) -> float:
    """Return the greatest difference of two cumulative shares, less what chance makes of it.

    Source: Deequ's robust L-infinity distance, max(0, linf - 1.8 sqrt((n + m) / (n m))).

    >>> robust_distance([1000, 0], [0, 1000]) > 0.9, robust_distance([5, 5], [6, 4])
    (True, 0.0)
    """
    one, other = np.asarray(past, np.float64), np.asarray(now, np.float64)
    n, m = one.sum(), other.sum()
    if not n or not m:
        return 0.0
    distance = float(np.max(np.abs(np.cumsum(one) / n - np.cumsum(other) / m)))
    return max(0.0, distance - 1.8 * float(np.sqrt((n + m) / (n * m))))


def _reference_of(dataset: Dataset, rows: Ints) -> Reference:
    return build_reference(
        dataset.features, dataset.matrix[rows], np.full(len(rows), np.nan),
        np.zeros(len(rows), np.bool_), unseen=dataset.unseen[rows],
    )  # fmt: skip


def _suggested_broken(
    dataset: Dataset, rows: Ints, reference: Reference, limits: Constraints,
    moving: Collection[str], own: Constraints | None,
) -> list[Violation]:  # fmt: skip
    """Return the suggested limits that the newest claims break."""
    stated = {each.name for each in own.features} if own is not None else set()
    most_drift = (own or limits).most_drift
    found = list[Violation]()
    for place, (past, limit) in enumerate(zip(reference.features, limits.features, strict=True)):
        column = dataset.matrix[rows, place]
        if limit.name not in stated:
            found += _broken(dataset, rows, column, limit, TOLERATED, limits)
        drifted = limit.name not in moving and _drift(dataset, rows, column, past, most_drift)
        found += [drifted] if drifted else []
    unseen, before = dataset.unseen[rows] > 0, reference.unseen / max(1, reference.n)
    if np.mean(unseen) > before + limits.monitoring_config.domain_content_threshold:
        found.append(_violation(
            dataset, rows[unseen], "categories", "categorical_values_check",
            f"{np.mean(unseen):.0%} of the claims have a category that the definitions don't list, "
            f"{before:.0%} before",
        ))  # fmt: skip
    return found


def _merged(violations: Sequence[Violation]) -> list[Violation]:
    """Join the violations of one limit in several parts of time; the first part's words stay."""
    merged = dict[tuple[str, str], Violation]()
    for each in violations:
        key = each.feature_name, each.constraint_check_type
        if key in merged:
            first = merged[key]
            each = msgspec.structs.replace(
                first, claims=first.claims + each.claims,
                claim_ids=[*first.claim_ids, *each.claim_ids][:NAMED],
            )  # fmt: skip
        merged[key] = each
    return list(merged.values())


def _own_broken(dataset: Dataset, rows: Ints, own: Constraints) -> list[Violation]:
    """Return the user's limits that the claims break; a single claim is enough."""
    places = {name: place for place, name in enumerate(dataset.features)}
    found = list[Violation]()
    for limit in own.features:
        if limit.name not in places:
            what = "there is no such feature"
            found.append(Violation(limit.name, "missing_column_check", what))
            continue
        column = dataset.matrix[rows, places[limit.name]]
        found += _broken(dataset, rows, column, limit, 0.0, own)
    return found


def _broken(
    dataset: Dataset, rows: Ints, column: NDArray[np.float64], limit: FeatureConstraints,
    tolerated: float, limits: Constraints,
) -> list[Violation]:  # fmt: skip
    """Return the limits of one feature that its values break."""
    config, numbers, found = limits.monitoring_config, limit.num_constraints, list[Violation]()
    missing, count = np.isnan(column), len(column)

    def add(check: Check, bad: Bools, most: float, words: str) -> None:
        if np.sum(bad) > most * count:
            found.append(_violation(dataset, rows[bad], limit.name, check, words))

    complete = 1 - np.mean(missing) if count else 1.0
    if complete < limit.completeness:
        words = f"{complete:.1%} of the claims have a value, {limit.completeness:.1%} are asked for"
        add("completeness_check", missing, 0.0, words)
    if limit.inferred_type == "Integral":
        parts = np.isfinite(column) & (column != np.floor(column))
        add("data_type_check", parts, config.datatype_check_threshold, "not whole numbers")
    if numbers.is_non_negative:
        add("range_check", column < 0, tolerated, "below 0")
    if numbers.minimum is not None:
        add("range_check", column < numbers.minimum, tolerated, f"below {numbers.minimum:g}")
    if numbers.maximum is not None:
        add("range_check", column > numbers.maximum, tolerated, f"above {numbers.maximum:g}")
    if numbers.domains is not None:
        others = ~missing & ~np.isin(column, numbers.domains)
        add("categorical_values_check", others, config.domain_content_threshold, "unknown values")
    return found


def _drift(
    dataset: Dataset, rows: Ints, column: NDArray[np.float64], past: FeatureReference, most: float
) -> Violation | None:
    """Return the violation of a distribution that has moved too far."""
    if not past.edges:
        return None
    counts = bin_counts(column, past.edges)
    distance = robust_distance(past.counts, counts)
    if distance <= most:
        return None
    before = np.asarray(past.counts, np.float64)
    more = int(np.argmax(counts / max(1, counts.sum()) - before / max(1.0, before.sum())))
    known = np.flatnonzero(~np.isnan(column))
    bins = np.searchsorted(np.asarray(past.edges), column[known], "left")
    words = f"distance {distance:.2f} from before, {most:g} are allowed"
    return _violation(dataset, rows[known[bins == more]], past.name, "baseline_drift_check", words)


def _violation(dataset: Dataset, rows: Ints, name: str, check: Check, words: str) -> Violation:
    ids = [dataset.claim_ids[row] for row in rows[:NAMED]]
    return Violation(name, check, words, len(rows), ids)
