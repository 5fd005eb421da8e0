"""Run a loop over claims with the online store of Feast as its state.

    python -m benchmarks.peers.feast_loop JOB.json

The code follows the documentation of Feast: one feature view an entity, `get_online_features` for
the claim's five entities, and `write_to_online_store` of the five rows afterwards. The store is
SQLite, the default, in the loop's own thread. The loop does less than the engine: Feast stores rows
and aggregates nothing, so the state is running totals since the start, by the claim's own five
entities, without windows, distinct counts or spread. Labels are dropped.
"""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("FEAST_USAGE", "False")  # before the import: no usage statistics are sent

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

from benchmarks.peers.job import FEATURES, Fact, Job, Model, own_features, read_job, tell, to_ms
from benchmarks.peers.kafka_loop import VERSIONS, carry_out
from benchmarks.peers.windows import DAY_MS, NAN

KEYS: Final = {
    "policy": "policy_id",
    "car": "vin",
    "shop": "repair_shop_id",
    "phone": "phone",
    "account": "bank_account",
}
KEPT: Final = ("count", "total", "mean", "largest", "last_ms")


def open_store(folder: Path) -> FeatureStore:
    """Make a store with a view of five features for each of the five entities."""
    folder.mkdir(parents=True, exist_ok=True)
    nothing = folder / "offline.parquet"
    pd.DataFrame({"at": pd.Series(dtype="datetime64[ns, UTC]")}).to_parquet(nothing)
    store = FeatureStore(
        config=RepoConfig(
            project="peers",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    parts: list[Any] = []
    for name, key in KEYS.items():
        entity = Entity(name=name, join_keys=[key], value_type=ValueType.STRING)
        schema = [Field(name=each, dtype=Float64 if each == "mean" else Int64) for each in KEPT]
        source = FileSource(name=f"{name}_rows", path=str(nothing), timestamp_field="at")
        parts += [entity, FeatureView(name=name, entities=[entity], ttl=timedelta(0), online=True,
                                      schema=[Field(name=key, dtype=String), *schema],
                                      source=source)]  # fmt: skip
    store.apply(parts)
    return store


def step(store: FeatureStore, claim: Fact) -> list[float]:
    """Read the five rows, compute the vector, write the five rows."""
    now_ms, cents = to_ms(claim.filed_at), claim.total_claim_cents
    wanted = {key: getattr(claim, key) for key in KEYS.values()}
    read = store.get_online_features(
        features=[f"{name}:{each}" for name in KEYS for each in KEPT],
        entity_rows=[wanted],
        full_feature_names=True,
    ).to_dict()
    vector = own_features(claim, now_ms)
    for name, key in KEYS.items():
        count, total, _, largest, last_ms = (read[f"{name}__{each}"][0] for each in KEPT)
        if count is None:
            count = total = largest = 0
            vector += (0, 0, NAN)
        else:
            vector += (count, total, (now_ms - last_ms) / DAY_MS)
        row = {key: wanted[key], "count": count + 1, "total": total + cents,
               "mean": (total + cents) / (count + 1), "largest": max(largest, cents),
               "last_ms": now_ms, "at": claim.filed_at}  # fmt: skip
        store.write_to_online_store(feature_view_name=name, df=pd.DataFrame([row]))
    return vector + [NAN] * (FEATURES - len(vector))


def run(job: Job) -> None:
    """Decide on claims, one after the other."""
    warnings.filterwarnings("ignore")
    model, store = Model(job), open_store(Path(job.folder))

    def decide(facts: list[Fact]) -> list[tuple[str, bytes]]:
        return [
            (claim.claim_id, model.decide([claim.claim_id], [step(store, claim)])[0])
            for claim in facts
            if not claim.adjudication_id
        ]

    carry_out(job, 1, decide)
    tell(model, VERSIONS | {"feast": version("feast")})


if __name__ == "__main__":
    run(read_job())
