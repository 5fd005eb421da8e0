"""Features of a claim, in vector order: its own fields, its customer's profile, its windows."""

from __future__ import annotations

from claimtrace.clock import DAY_MS
from featurestore.definitions.expressions import feature, field, profile
from featurestore.definitions.features import (
    Feature,
    computed,
    count,
    distinct,
    largest,
    latest,
    latest_one_hot,
    mean,
    number,
    one_hot,
    ordered,
    outcomes,
    rate,
    ratio,
    since_last,
    std,
    total,
)

from .entities import account, address, clinic, customer, phone, policy, shop, vehicle

AMOUNT = "total_claim_cents"
ARRIVED = "when the label arrived"

AWS_CLAIM: tuple[Feature, ...] = (
    ordered("incident_severity", "incident_severity", ("minor", "major", "totaled"),
            text="severity of the incident (0 minor, 1 major, 2 totaled)"),
    number("num_vehicles_involved", "num_vehicles_involved", text="vehicles involved"),
    number("num_injuries", "num_injuries", text="people injured"),
    number("num_witnesses", "num_witnesses", text="witnesses"),
    ordered("police_report_available", "police_report_available", ("no", "yes"),
            text="police report available"),
    number("injury_claim", "injury_claim_cents", unit=100, text="amount claimed for injuries"),
    number("vehicle_claim", "vehicle_claim_cents", unit=100, text="amount claimed for the vehicle"),
    number("total_claim_amount", "total_claim_cents", unit=100, text="amount claimed",
           baseline="policy.claimed.mean_cents.365d"),
    number("incident_month", "incident_month", moving=True, text="month of the incident"),
    number("incident_day", "incident_day", moving=True, text="day of the incident"),
    number("incident_dow", "incident_dow", moving=True, text="weekday of the incident (0 to 6)"),
    number("incident_hour", "incident_hour", moving=True, text="hour of the incident"),
    *one_hot("driver_relationship", "driver_relationship",
             ("self", "na", "spouse", "child", "other")),
    *one_hot("incident_type", "incident_type", ("collision", "breakin", "theft")),
    *one_hot("collision_type", "collision_type", ("front", "rear", "side", "na")),
    *one_hot("authorities_contacted", "authorities_contacted",
             ("police", "none", "fire", "ambulance")),
)  # fmt: skip
"""The 28 inputs that the AWS example reads from the claim, under the example's names."""

AWS_CUSTOMER: tuple[Feature, ...] = (
    latest("customer_age", of=policy, group="policies", text="age of the policyholder"),
    latest("customer_education", of=policy, group="policies",
           order=("below high school", "high school", "associate", "bachelor", "advanced degree"),
           text="education (0 below high school to 4 advanced degree)"),
    latest("months_as_customer", of=policy, group="policies", text="months as a customer"),
    latest("policy_deductable", of=policy, group="policies", text="deductible"),
    latest("policy_annual_premium", of=policy, group="policies", text="annual premium"),
    latest("policy_liability", of=policy, group="policies",
           order=("15/30", "25/50", "30/60", "100/200"), text="liability cover (0 least, 3 most)"),
    latest("auto_year", of=policy, group="policies", text="model year of the car"),
    latest("num_claims_past_year", of=policy, group="policies",
           text="claims in the year before the policy's last change"),
    latest("num_insurers_past_5_years", of=policy, group="policies",
           text="insurers in the past five years"),
    *latest_one_hot("customer_gender", of=policy, group="policies", source="customer_gender",
                    values=("male", "female"), known=("unkown", "unknown", "other")),
    *latest_one_hot("policy_state", of=policy, group="policies", source="policy_state",
                    values=("ca", "wa", "az", "or", "nv", "id")),
)  # fmt: skip
"""The 17 inputs that the AWS example reads from the customer."""

CLAIM: tuple[Feature, ...] = (
    ratio("claim.injury_share", "injury_claim_cents", "total_claim_cents",
          text="share of the amount that is for injuries"),
    computed("claim.cents_per_injury",
             field("injury_claim_cents") / field("num_injuries"),
             text="amount claimed for each injured person, in cents"),
    computed("claim.report_delay_days", (field("filed_at") - field("incident_at")) / DAY_MS,
             text="days from the incident to the claim"),
    computed("policy.age_days",
             (field("incident_at") - profile("policies", "inception_at")) / DAY_MS,
             text="age of the policy at the incident, in days"),
)  # fmt: skip

WINDOWS: tuple[Feature, ...] = (
    count("policy.claims.count.30d", of=policy, window="30d", text="claims on this policy"),
    count("policy.claims.count.365d", of=policy, window="365d", text="claims on this policy"),
    total("policy.claimed.sum_cents.365d", of=policy, value=AMOUNT, window="365d",
          text="amount claimed on this policy"),
    mean("policy.claimed.mean_cents.365d", of=policy, value=AMOUNT, window="365d",
         text="mean amount claimed on this policy"),
    since_last("policy.claims.since_last_days", of=policy, within="365d",
               text="days since this policy's last claim"),
    count("customer.claims.count.365d", of=customer, window="365d",
          text="claims of this customer"),
    distinct("customer.vehicles.distinct.365d", of=customer, value="vin", window="365d",
             current="in", text="different cars in this customer's claims"),
    count("vehicle.claims.count.365d", of=vehicle, window="365d", text="claims on this car"),
    distinct("vehicle.policies.distinct.365d", of=vehicle, value="policy_id", window="365d",
             current="in", text="different policies that claimed for this car"),
    count("repair_shop.claims.count.7d", of=shop, window="7d", text="claims at this repair shop"),
    count("repair_shop.claims.count.30d", of=shop, window="30d", text="claims at this repair shop"),
    mean("repair_shop.claimed.mean_cents.90d", of=shop, value=AMOUNT, window="90d",
         text="mean amount claimed at this repair shop"),
    std("repair_shop.claimed.std_cents.90d", of=shop, value=AMOUNT, window="90d",
        text="spread of the amounts claimed at this repair shop"),
    largest("repair_shop.claimed.max_cents.90d", of=shop, value=AMOUNT, window="90d",
            text="largest amount claimed at this repair shop"),
    rate("repair_shop.fraud.rate.180d", of=shop, window="180d", known=ARRIVED,
         text="share of frauds among this repair shop's outcomes that arrived"),
    outcomes("repair_shop.fraud.count.180d", of=shop, window="180d", known=ARRIVED,
             text="frauds among this repair shop's outcomes that arrived"),
    count("clinic.claims.count.30d", of=clinic, window="30d", text="claims at this clinic"),
    mean("clinic.injury.mean_cents.90d", of=clinic, value="injury_claim_cents", window="90d",
         text="mean injury amount claimed at this clinic"),
    rate("clinic.fraud.rate.180d", of=clinic, window="180d", known=ARRIVED,
         text="share of frauds among this clinic's outcomes that arrived"),
    count("phone.claims.count.90d", of=phone, window="90d", text="claims that name this phone"),
    distinct("phone.policies.distinct.90d", of=phone, value="policy_id", window="90d",
             current="in", text="different policies in claims that name this phone"),
    outcomes("phone.fraud.count.180d", of=phone, window="180d", known=ARRIVED,
             text="frauds that arrived among claims that name this phone"),
    count("bank_account.claims.count.90d", of=account, window="90d",
          text="claims paid to this bank account"),
    distinct("bank_account.policies.distinct.90d", of=account, value="policy_id", window="90d",
             current="in", text="different policies paid to this bank account"),
    total("bank_account.claimed.sum_cents.90d", of=account, value=AMOUNT, window="90d",
          text="amount claimed to this bank account"),
    outcomes("bank_account.fraud.count.180d", of=account, window="180d", known=ARRIVED,
             text="frauds that arrived among claims paid to this bank account"),
    count("address.claims.count.90d", of=address, window="90d", text="claims from this address"),
    distinct("address.policies.distinct.90d", of=address, value="policy_id", window="90d",
             current="in", text="different policies that claim from this address"),
    computed("claim.of_policy_mean",
             field("total_claim_cents") / feature("policy.claimed.mean_cents.365d"),
             text="amount claimed over this policy's own mean"),
    computed("claim.of_shop_mean",
             field("total_claim_cents") / feature("repair_shop.claimed.mean_cents.90d"),
             text="amount claimed over this repair shop's mean"),
)  # fmt: skip

FEATURES: tuple[Feature, ...] = (*AWS_CLAIM, *AWS_CUSTOMER, *CLAIM, *WINDOWS)
