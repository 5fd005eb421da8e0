"""The entities of the claims domain, and the feature group with the profiles of policies."""

from __future__ import annotations

from featurestore.definitions.features import Entity, Group

from .events import PolicyChanged

policy = Entity("policy", key="policy_id")
customer = Entity("customer", key="customer_id")
vehicle = Entity("vehicle", key="vin", form="code")
shop = Entity("repair_shop", key="repair_shop_id")
clinic = Entity("clinic", key="clinic_id")
phone = Entity("phone", key="phone", also=("other_party_phone",), form="phone")
account = Entity("bank_account", key="bank_account", form="code")
address = Entity("address", key="address")

GROUPS = (Group("policies", policy, PolicyChanged),)
