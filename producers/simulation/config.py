"""The configuration of a simulation: size, frauds, faulty records, drifts and rings on command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from claimtrace.clock import DAY_MS
from claimtrace.errors import ConfigError

DriftKind = Literal["inflation", "new_shop_mix", "missing_field", "channel_shift"]
DRIFT_KINDS: Final[tuple[DriftKind, ...]] = (
    "inflation",
    "new_shop_mix",
    "missing_field",
    "channel_shift",
)


_LAST_MS: Final = 253_402_300_800_000  # 10000-01-01
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True)
class Drift:
    """A lasting change of the claims filed from `at_day` on.

    `size` is a share or a ratio: inflation 0.3 makes amounts 30 % higher; new_shop_mix 0.4 sends
    40 % of repairs to new shops; missing_field 0.5 leaves the police report out of half the claims;
    channel_shift 0.5 moves half of the claims to the app.
    """

    at_day: int
    kind: DriftKind
    size: float


@dataclass(frozen=True)
class Ring:
    """A commanded ring of staged accidents: `claims` claims in `spread_days` from `at_day` on."""

    at_day: int
    claims: int = 12
    spread_days: int = 1


@dataclass(frozen=True)
class ScenarioShares:
    """The distribution of frauds over the scenarios; only the ratios of the shares matter."""

    staged_ring: float = 0.26
    crooked_shop: float = 0.22
    inflated_injury: float = 0.20
    early_policy: float = 0.20
    stolen_identity: float = 0.12

    def ratios(self) -> tuple[float, ...]:
        """Return the shares in the order of `scenarios.SCENARIOS`, without `none`."""
        return (
            self.staged_ring,
            self.crooked_shop,
            self.inflated_injury,
            self.early_policy,
            self.stolen_identity,
        )


@dataclass(frozen=True)
class DirtyShares:
    """The shares of claims with a fault of each kind; a claim has at most one fault."""

    missing_fields: float = 0.010
    placeholder_phone: float = 0.004
    unseen_category: float = 0.002
    mixed_case: float = 0.006
    malformed: float = 0.0005

    def ratios(self) -> tuple[float, ...]:
        """Return the shares in the order of `dirty.KINDS`."""
        return (
            self.missing_fields,
            self.placeholder_phone,
            self.unseen_category,
            self.mixed_case,
            self.malformed,
        )


@dataclass(frozen=True)
class SimulationConfig:
    """Everything that a simulation depends on: the same config gives the same bytes.

    Day 0 begins at `start_ms` (midnight UTC); the profiles of the opening portfolio arrive during
    the day before.
    """

    seed: int = 7
    start_ms: int = 1_704_067_200_000  # 2024-01-01
    days: int = 365
    claims_per_day: float = 100.0
    policies: int = 50_000
    partitions: int = 4

    fraud_ratio: float = 0.03
    scenarios: ScenarioShares = ScenarioShares()
    undetected_ratio: float = 0.06
    """Share of frauds that are never found: settled, and labelled as legit."""
    unlabelled_ratio: float = 0.04
    """Share of all claims for which no outcome ever arrives."""

    late_ratio: float = 0.01
    """Share of claims that reach the log hours or days after filing."""
    duplicate_ratio: float = 0.005
    """Share of claims that are delivered a second time with the same bytes."""
    dirty: DirtyShares = DirtyShares()
    inflation_per_year_ratio: float = 0.05

    drifts: tuple[Drift, ...] = ()
    rings: tuple[Ring, ...] = ()
    ends: tuple[int, ...] = ()
    """Days at which earlier runs of this world ended: what arrived before them stays the same."""

    def longer(
        self, days: int, drifts: tuple[Drift, ...] = (), rings: tuple[Ring, ...] = ()
    ) -> SimulationConfig:
        """Return the config of the same world for some days more.

        The records of the days before are the same bytes; ids, policies, rings and outcomes that
        were still to come go on.

        Args:
            days: how many days more.
            drifts, rings: on command, from the end of this config on; days count from the start.

        Raises:
            ConfigError: a drift or ring is of a day that has passed.
        """
        if days < 1:
            raise ConfigError(f"{days} days more: at least one", where="days")
        for day in [*(drift.at_day for drift in drifts), *(ring.at_day for ring in rings)]:
            if day < self.days:
                raise ConfigError(f"day {day} has passed: the world goes on at day {self.days}")
        return replace(
            self,
            days=self.days + days,
            ends=(*self.ends, self.days),
            drifts=(*self.drifts, *drifts),
            rings=(*self.rings, *rings),
        )

    def __post_init__(self) -> None:
        """Check that the config can be simulated.

        Raises:
            ConfigError: a field is out of range; names the field.
        """
        if not 1 <= self.days <= _MOST_DAYS:
            raise ConfigError(f"days = {self.days} is not within 1 .. {_MOST_DAYS}", where="days")
        if not 0 <= self.start_ms <= _LAST_MS - self.days * DAY_MS:
            raise ConfigError(
                "the world must lie within the years 1970 to 9999", where="start, days"
            )
        ranges = (
            ("claims_per_day", self.claims_per_day, 0.001, 10**8),
            ("policies", self.policies, 100, 10**7),
            ("partitions", self.partitions, 1, 1024),
            ("fraud_ratio", self.fraud_ratio, 0, 0.5),
            ("undetected_ratio", self.undetected_ratio, 0, 1),
            ("unlabelled_ratio", self.unlabelled_ratio, 0, 1),
            ("late_ratio", self.late_ratio, 0, 1),
            ("duplicate_ratio", self.duplicate_ratio, 0, 1),
            ("inflation_per_year_ratio", self.inflation_per_year_ratio, -0.5, 5),
            ("seed", self.seed, 0, 2**63),
            ("sum of the dirty shares", sum(self.dirty.ratios()), 0, 1),
        )
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value} is not within {low} .. {high}", where=name)
        if min(self.scenarios.ratios()) < 0 or sum(self.scenarios.ratios()) <= 0:
            raise ConfigError("shares of scenarios must be >= 0, and not all 0", where="scenarios")
        for drift in self.drifts:
            if drift.kind not in DRIFT_KINDS:
                raise ConfigError(
                    f"unknown kind of drift {drift.kind!r}", hint="one of " + ", ".join(DRIFT_KINDS)
                )
        for ring in self.rings:
            if ring.claims < 1 or ring.spread_days < 1:
                raise ConfigError("a ring has at least one claim, on one day", where="rings")
