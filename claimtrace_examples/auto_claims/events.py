"""Event types of the claims domain: a claim filed, a policy changed, an investigation's outcome."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from claimtrace.events import Category, Cents, Count, EntityId, Event, EventId, Pii, Text


class ClaimFiled(Event, topic="claims.filed", id="claim_id", time="filed_at", frozen=True):
    """A filed claim. Amounts are in cents of `currency`; times are ISO 8601 with a time zone."""

    claim_id: EventId
    filed_at: datetime | None = None
    incident_at: datetime | None = None
    currency: str = "USD"

    policy_id: EntityId | None = None
    customer_id: EntityId | None = None
    vin: EntityId | None = None
    repair_shop_id: EntityId | None = None
    clinic_id: EntityId | None = None
    phone: Annotated[EntityId, Pii] | None = None
    other_party_phone: Annotated[EntityId, Pii] | None = None
    bank_account: Annotated[EntityId, Pii] | None = None
    address: Annotated[EntityId, Pii] | None = None

    driver_relationship: Category | None = None
    incident_type: Category | None = None
    collision_type: Category | None = None
    incident_severity: Category | None = None
    authorities_contacted: Category | None = None
    police_report_available: Category | None = None
    num_vehicles_involved: Count | None = None
    num_injuries: Count | None = None
    num_witnesses: Count | None = None

    injury_claim_cents: Cents | None = None
    vehicle_claim_cents: Cents | None = None
    total_claim_cents: Cents | None = None

    incident_month: Count | None = None
    incident_day: Count | None = None
    incident_dow: Count | None = None
    incident_hour: Count | None = None

    channel: Category | None = None
    line_of_business: Category | None = None
    country: Category | None = None
    postcode: EntityId | None = None
    narrative: Annotated[Text, Pii] | None = None


class PolicyChanged(
    Event, topic="policies.changed", id="change_id", time="changed_at", frozen=True
):
    """The profile of a policy and its holder from `changed_at` on, until a later change."""

    change_id: EventId
    changed_at: datetime | None = None
    policy_id: EntityId | None = None
    customer_id: EntityId | None = None
    inception_at: datetime | None = None

    customer_age: Count | None = None
    months_as_customer: Count | None = None
    num_claims_past_year: Count | None = None
    num_insurers_past_5_years: Count | None = None
    policy_state: Category | None = None
    policy_deductable: Count | None = None
    policy_annual_premium: Count | None = None
    policy_liability: Category | None = None
    customer_zip: Annotated[EntityId, Pii] | None = None
    customer_gender: Annotated[Category, Pii] | None = None
    customer_education: Category | None = None
    auto_year: Count | None = None


class ClaimAdjudicated(
    Event, topic="claims.adjudicated", id="adjudication_id", time="decided_at", frozen=True
):
    """The outcome of a claim, from an investigation or an ordinary settlement.

    `outcome` is `fraud` or `legit`; any other outcome is kept for people to read and is no label.
    """

    adjudication_id: EventId
    decided_at: datetime | None = None
    claim_id: EventId | None = None
    outcome: Category | None = None
    source: Category | None = None
