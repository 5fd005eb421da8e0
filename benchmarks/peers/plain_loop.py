"""Run a plain Python worker: confluent-kafka in batches, windows in Python, XGBoost, SHAP.

    python -m benchmarks.peers.plain_loop JOB.json            the whole job
    python -m benchmarks.peers.plain_loop --floor JOB.json    decode, predict and produce alone

The loop handles whole batches in every step; only the windows are updated record by record. It does
less than the engine: no journal, no snapshots (a crash loses the windows), no late claims, no
removal of duplicates, no drift, no rules, no calibration, no stored rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from benchmarks.peers.job import (
    FEATURES,
    OWN,
    Fact,
    Job,
    Model,
    own_features,
    rare_collections,
    read_job,
    tell,
    to_ms,
)
from benchmarks.peers.kafka_loop import VERSIONS, carry_out
from benchmarks.peers.windows import DAY_MS, NAN, Amounts, Policies, Spread, Times, Verdicts

BATCH: Final = 500
REST: Final = [NAN] * (FEATURES - OWN)


class Policy:
    """The windows of a policy."""

    __slots__ = ("month", "year")

    def __init__(self) -> None:
        self.month, self.year = Times(30 * DAY_MS), Amounts(365 * DAY_MS)

    def features(self, now_ms: int) -> list[float]:
        """Compute counts of 30 and 365 days, sum, mean, days since the last claim."""
        year = self.year
        year.forget(now_ms)
        since = (now_ms - year.last_ms) / DAY_MS
        return [self.month.count(now_ms), len(year.entries), year.total, year.mean, since]


class Shop:
    """The windows of a repair shop."""

    __slots__ = ("month", "quarter", "verdicts", "week")

    def __init__(self) -> None:
        self.week, self.month = Times(7 * DAY_MS), Times(30 * DAY_MS)
        self.quarter, self.verdicts = Spread(90 * DAY_MS), Verdicts(180 * DAY_MS)

    def features(self, now_ms: int) -> list[float]:
        """Compute counts of 7 and 30 days; mean, spread, maximum of 90; fraud rate of 180."""
        quarter, verdicts = self.quarter, self.verdicts
        quarter.forget(now_ms)
        verdicts.forget(now_ms)
        return [self.week.count(now_ms), self.month.count(now_ms),
                quarter.mean, quarter.std, quarter.largest, verdicts.rate]  # fmt: skip


class Account:
    """The windows of a bank account."""

    __slots__ = ("quarter", "verdicts")

    def __init__(self) -> None:
        self.quarter, self.verdicts = Policies(90 * DAY_MS), Verdicts(180 * DAY_MS)


class Book:
    """All entities by their ids, and the claims that have no label yet."""

    def __init__(self) -> None:
        self.policies: dict[str, Policy] = {}
        self.cars: dict[str, Policies] = {}
        self.shops: dict[str, Shop] = {}
        self.phones: dict[str, Policies] = {}
        self.accounts: dict[str, Account] = {}
        self.awaiting: dict[str, tuple[Shop, Account]] = {}

    def take(self, fact: Fact) -> list[float] | None:
        """Compute the 40 features of a claim and add it to the windows; None for a label."""
        if fact.adjudication_id:
            self._learn(fact)
            return None
        now_ms, cents, name = to_ms(fact.filed_at), fact.total_claim_cents, fact.policy_id
        policy = self.policies.get(name) or self.policies.setdefault(name, Policy())
        car = self._car(fact.vin)
        shop = self.shops.get(fact.repair_shop_id) or self.shops.setdefault(
            fact.repair_shop_id, Shop()
        )
        phone = self._phone(fact.phone)
        account = self.accounts.get(fact.bank_account) or self.accounts.setdefault(
            fact.bank_account, Account()
        )
        vector = own_features(fact, now_ms)
        vector += policy.features(now_ms)
        car.forget(now_ms)
        vector += (len(car.entries), len(car.claims))
        vector += shop.features(now_ms)
        quarter, verdicts = account.quarter, account.verdicts
        for window in (phone, quarter):
            window.forget(now_ms)
            vector += (len(window.entries), len(window.claims), window.total)
        verdicts.forget(now_ms)
        vector += (verdicts.frauds, _over(cents, vector[21]), _over(cents, vector[27]))
        policy.month.add(now_ms)
        shop.week.add(now_ms)
        shop.month.add(now_ms)
        for each in (policy.year, car, shop.quarter, phone, quarter):
            each.add(now_ms, cents, name)
        if fact.other_party_phone and fact.other_party_phone != fact.phone:
            self._phone(fact.other_party_phone).add(now_ms, cents, name)
        self.awaiting[fact.claim_id] = shop, account
        return vector

    def _learn(self, label: Fact) -> None:
        known = self.awaiting.pop(label.claim_id, None)
        if known is not None and label.outcome in ("fraud", "legit"):
            for each in known:
                each.verdicts.add(to_ms(label.decided_at), label.outcome == "fraud")

    def _car(self, vin: str) -> Policies:
        return self.cars.get(vin) or self.cars.setdefault(vin, Policies(365 * DAY_MS))

    def _phone(self, number: str) -> Policies:
        return self.phones.get(number) or self.phones.setdefault(number, Policies(90 * DAY_MS))


def vectors_of(facts: Iterable[Fact], book: Book) -> tuple[list[str], list[list[float]]]:
    """Add events to the book; returns ids and vectors of the claims among them."""
    claim_ids, vectors = [], []
    for fact in facts:
        if (vector := book.take(fact)) is not None:
            claim_ids.append(fact.claim_id)
            vectors.append(vector)
    return claim_ids, vectors


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else NAN


def run(job: Job, floor: bool) -> None:
    """Decide on batches; `floor`: without windows and reasons."""
    rare_collections()
    model, book = Model(job), Book()

    def decide(facts: list[Fact]) -> list[tuple[str, bytes]]:
        claim_ids, vectors = vectors_of(facts, book)
        if not vectors:
            return []
        return list(zip(claim_ids, model.decide(claim_ids, vectors), strict=True))

    def score(facts: list[Fact]) -> list[tuple[str, bytes]]:
        claims = [fact for fact in facts if not fact.adjudication_id]
        claim_ids = [claim.claim_id for claim in claims]
        vectors = [[*own_features(claim, 0), *REST] for claim in claims]
        if not vectors:
            return []
        return list(zip(claim_ids, model.score(claim_ids, vectors), strict=True))

    carry_out(job, BATCH, score if floor else decide)
    tell(model, VERSIONS)


if __name__ == "__main__":
    run(read_job(), "--floor" in sys.argv)
