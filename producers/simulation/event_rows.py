"""Write claims, profiles and outcomes of the claims domain as JSON rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from claimtrace.clock import DAY_MS, HOUR_MS
from claimtrace.events import Event

from .draws import Ints
from .honest_claims import (
    AUTHORITIES,
    CHANNELS,
    COLLISION_TYPES,
    INCIDENT_TYPES,
    POLICE_REPORTS,
    RELATIONSHIPS,
    SEVERITIES,
    Claims,
)
from .labels import OUTCOMES, SOURCES
from .narrative import CLOSINGS, DAMAGES, HURT, OPENINGS, PLACES, UNHURT
from .policies import Profiles
from .row_templates import RowTemplate, fuse, iso_times, literals, nullable
from .world import EDUCATIONS, GENDERS, LIABILITIES, STATES, World

_STREETS: Final = ("Oak St", "Main St", "Cedar Ave", "2nd Ave", "Lake Rd", "Park Blvd", "Elm St")
_MAKES: Final = ("1HGCM8263", "2T1BURHE4", "1FADP3F28", "3N1AB7AP9", "5YJ3E1EA7", "WBA8E9G51")

# The JSON text of each field with slots for its columns, see `RowTemplate`.
_CLAIM_SLOTS: Final = {
    "claim_id": '"clm-%09d"',
    "filed_at": '"%sZ"',
    "incident_at": '"%sZ"',
    "currency": '"USD"',
    "policy_id": '"pol-%07d"',
    "customer_id": '"cus-%07d"',
    "vin": '"%s%08d"',
    "repair_shop_id": "%s",
    "clinic_id": "%s",
    "phone": '"+1%010d"',
    "other_party_phone": "%s",
    "bank_account": '"US-%012d"',
    "address": '"%d %s, Apt %d"',
    "driver_relationship": "%s",
    "incident_type": "%s",
    "collision_type": "%s",
    "incident_severity": "%s",
    "authorities_contacted": "%s",
    "police_report_available": "%s",
    "num_vehicles_involved": "%d",
    "num_injuries": "%d",
    "num_witnesses": "%d",
    "injury_claim_cents": "%d",
    "vehicle_claim_cents": "%d",
    "total_claim_cents": "%d",
    "incident_month": "%d",
    "incident_day": "%d",
    "incident_dow": "%d",
    "incident_hour": "%d",
    "channel": "%s",
    "line_of_business": '"auto"',
    "country": '"US"',
    "postcode": '"%05d"',
    "narrative": '"%s %s %s %s %s"',
}
_PROFILE_SLOTS: Final = {
    "change_id": '"chg-%09d"',
    "changed_at": '"%sZ"',
    "policy_id": '"pol-%07d"',
    "customer_id": '"cus-%07d"',
    "inception_at": '"%sZ"',
    "customer_age": "%d",
    "months_as_customer": "%d",
    "num_claims_past_year": "%d",
    "num_insurers_past_5_years": "%d",
    "policy_state": "%s",
    "policy_deductable": "%d",
    "policy_annual_premium": "%d",
    "policy_liability": "%s",
    "customer_zip": '"%05d"',
    "customer_gender": "%s",
    "customer_education": "%s",
    "auto_year": "%d",
}
_OUTCOME_SLOTS: Final = {
    "adjudication_id": '"adj-%09d"',
    "decided_at": '"%sZ"',
    "claim_id": '"clm-%09d"',
    "outcome": "%s",
    "source": "%s",
}

# Runs of fields with few distinct values, each written as one column, see `fuse`.
_INCIDENT_FIELDS: Final = (
    "driver_relationship",
    "incident_type",
    "collision_type",
    "incident_severity",
    "authorities_contacted",
    "police_report_available",
)
_INCIDENT_CODES: Final = (
    "relationship",
    "incident_type",
    "collision_type",
    "severity",
    "authorities",
    "police_report",
)
_COUNT_FIELDS: Final = ("num_vehicles_involved", "num_injuries", "num_witnesses")
_CALENDAR_FIELDS: Final = ("incident_month", "incident_day", "incident_dow", "incident_hour")

Picks = npt.NDArray[np.object_]
_TABLES: Final[dict[str, Picks]] = {
    "relationship": literals(RELATIONSHIPS),
    "incident_type": literals(INCIDENT_TYPES),
    "collision_type": literals(COLLISION_TYPES),
    "severity": literals(SEVERITIES),
    "authorities": literals(AUTHORITIES),
    "police_report": literals(POLICE_REPORTS),
    "channel": literals(CHANNELS),
    "state": literals(STATES),
    "liability": literals(LIABILITIES),
    "gender": literals(GENDERS),
    "education": literals(EDUCATIONS),
    "outcome": literals(OUTCOMES),
    "source": literals(SOURCES),
}
_SENTENCES: Final = tuple(
    tuple(np.array(sentences, object) for sentences in part)
    for part in (OPENINGS, (PLACES,), (DAMAGES,), (UNHURT, HURT), (CLOSINGS,))
)
_STREET_TABLE: Final = np.array(_STREETS, object)
_MAKE_TABLE: Final = np.array(_MAKES, object)


class EventClasses(NamedTuple):
    """The domain's three event classes, passed as arguments: `producers` imports no domain."""

    claim_filed: type[Event]
    policy_changed: type[Event]
    claim_adjudicated: type[Event]


class Writers:
    """Encodes columns as the bytes of a domain's events.

    Raises:
        ConfigError: an event class lacks a field that the simulator writes.
    """

    def __init__(self, events: EventClasses) -> None:
        self._claim = RowTemplate(
            events.claim_filed, _CLAIM_SLOTS, (_INCIDENT_FIELDS, _COUNT_FIELDS, _CALENDAR_FIELDS)
        )
        self._profile = RowTemplate(events.policy_changed, _PROFILE_SLOTS)
        self._outcome = RowTemplate(events.claim_adjudicated, _OUTCOME_SLOTS)

    def claims(self, claims: Claims, number: Ints, world: World) -> list[bytes]:
        """Encode a `claim_filed` event for each row; `number` gives the claim's id."""
        policy = claims.policy
        return self._claim.rows(
            {
                "claim_id": number.tolist(),
                "filed_at": iso_times(claims.filed_ms),
                "incident_at": iso_times(claims.incident_ms),
                "policy_id": policy.tolist(),
                "customer_id": world.customer[policy].tolist(),
                "vin": (_MAKE_TABLE[policy % 6].tolist(), policy.tolist()),
                "repair_shop_id": nullable("shop-%05d", claims.shop),
                "clinic_id": nullable("clinic-%04d", claims.clinic),
                "phone": _phone_numbers(claims.phone).tolist(),
                "other_party_phone": nullable("+1%010d", _phone_numbers(claims.other_phone)),
                "bank_account": ((claims.bank * 7_919_003 + 120_000_007) % 10**12).tolist(),
                "address": (
                    (claims.address % 9973 + 1).tolist(),
                    _STREET_TABLE[claims.address // 9973 % len(_STREETS)].tolist(),
                    (claims.address // (9973 * len(_STREETS))).tolist(),
                ),
                _INCIDENT_FIELDS[0]: fuse(
                    _INCIDENT_FIELDS,
                    [getattr(claims, name) for name in _INCIDENT_CODES],
                    [_TABLES[name].tolist() for name in _INCIDENT_CODES],
                ),
                _COUNT_FIELDS[0]: fuse(
                    _COUNT_FIELDS, [claims.vehicles, claims.injuries, claims.witnesses], [None] * 3
                ),
                "injury_claim_cents": claims.injury_cents.tolist(),
                "vehicle_claim_cents": claims.vehicle_cents.tolist(),
                "total_claim_cents": (claims.injury_cents + claims.vehicle_cents).tolist(),
                _CALENDAR_FIELDS[0]: fuse(
                    _CALENDAR_FIELDS, calendar(claims.incident_ms), [None] * 4
                ),
                "channel": _pick("channel", claims.channel),
                "postcode": claims.postcode.tolist(),
                "narrative": _narratives(claims),
            }
        )

    def profiles(self, profiles: Profiles, number: Ints, world: World) -> list[bytes]:
        """Encode a `policy_changed` event for each row; `number` gives the change's id."""
        policy = profiles.policy
        coded = {
            "policy_state": "state",
            "policy_liability": "liability",
            "customer_gender": "gender",
            "customer_education": "education",
        }
        return self._profile.rows(
            {field: _pick(name, getattr(world, name)[policy]) for field, name in coded.items()}
            | {
                "change_id": number.tolist(),
                "changed_at": iso_times(profiles.changed_ms),
                "policy_id": policy.tolist(),
                "customer_id": world.customer[policy].tolist(),
                "inception_at": iso_times(world.inception_ms[policy]),
                "customer_age": profiles.age.tolist(),
                "months_as_customer": profiles.months.tolist(),
                "num_claims_past_year": profiles.past_claims.tolist(),
                "num_insurers_past_5_years": world.insurers[policy].tolist(),
                "policy_deductable": world.deductible[policy].tolist(),
                "policy_annual_premium": world.premium[policy].tolist(),
                "customer_zip": profiles.postcode.tolist(),
                "auto_year": profiles.auto_year.tolist(),
            }
        )

    def outcomes(self, claim: Ints, decided_ms: Ints, outcome: Ints, source: Ints) -> list[bytes]:
        """Encode a `claim_adjudicated` event for each row.

        A claim has at most one outcome, so the outcome's id has the number of the claim.
        """
        return self._outcome.rows(
            {
                "adjudication_id": claim.tolist(),
                "decided_at": iso_times(decided_ms),
                "claim_id": claim.tolist(),
                "outcome": _pick("outcome", outcome),
                "source": _pick("source", source),
            }
        )


def calendar(times_ms: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Compute month 1-12, day 1-31, day of the week 0-6 from Monday and hour 0-23, all in UTC.

    >>> [int(part[0]) for part in calendar(np.array([1_709_208_000_000]))]  # 2024-02-29 12:00, Thu
    [2, 29, 3, 12]
    """
    days = times_ms // DAY_MS
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    first_day = months.astype("datetime64[D]").astype(np.int64)
    hour = times_ms % DAY_MS // HOUR_MS
    return months.astype(np.int64) % 12 + 1, days - first_day + 1, (days + 3) % 7, hour


def claim_ids(number: Ints) -> Sequence[str]:
    """Format the ids of claims by number, as on the log."""
    return list(map("clm-%09d".__mod__, number.tolist()))


def _narratives(claims: Claims) -> tuple[list[str], ...]:
    """Pick five columns of sentences, each among those that fit the incident."""
    always = np.zeros(len(claims), np.int64)
    fits = (claims.incident_type, always, always, (claims.injuries > 0).astype(np.int64), always)
    parts: list[list[str]] = []
    for number, (choices, fit) in enumerate(zip(_SENTENCES, fits, strict=True)):
        sizes = np.array([len(sentences) for sentences in choices])
        firsts = np.cumsum(sizes) - sizes  # of each choice among the concatenated sentences
        picked = firsts[fit] + claims.text[:, number] % sizes[fit]
        parts.append(np.concatenate(choices)[picked].tolist())
    return tuple(parts)


def _pick(table: str, codes: Ints) -> list[str]:
    texts: list[str] = _TABLES[table][codes].tolist()
    return texts


def _phone_numbers(person: Ints) -> Ints:
    """Make ten digits of each number, one to one below 10^9; negative numbers give -1."""
    scattered = 2_000_000_000 + person * 387_420_489 % 999_999_937
    return np.where(person < 0, -1, scattered)
