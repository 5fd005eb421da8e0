"""Run Faust: an agent that handles claims one at a time, with a table of each policy's past.

    PEER_JOB=JOB.json python -m benchmarks.peers.faust_worker worker --without-web -l warn

The code follows the documentation of Faust: `async for`, a table in memory with its change log in
Kafka, `send`. Windowed tables of Faust tumble or hop, so a table of lists is used, which is exact.
The worker does less than the engine. The features of the other four entities are missing, as each
would need a topic of its own with the entity as key. Labels are dropped. Prediction is per event.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import faust

from benchmarks.peers.job import (
    FEATURES,
    Model,
    decode,
    own_features,
    policy_features,
    rare_collections,
    read_job,
    tell,
    to_ms,
)
from benchmarks.peers.windows import DAY_MS, NAN

JOB = read_job()
YEAR_MS = 365 * DAY_MS
app = faust.App(
    JOB.output,
    broker=f"kafka://{JOB.bootstrap}",
    store="memory://",
    datadir=JOB.folder,
    topic_partitions=1,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    worker_redirect_stdouts=False,
)
claims = app.topic(JOB.source, key_type=str, value_type=bytes, value_serializer="raw")
decisions = app.topic(JOB.output, key_type=str, value_type=bytes, value_serializer="raw")
policies = app.Table("policies", default=list, partitions=1)
model = Model(JOB)


@app.agent(claims)
async def decide(values: Any) -> None:
    """Update the table, score and send, one claim after the other."""
    async for value in values:
        claim = decode(value)
        if claim.adjudication_id:
            continue
        now_ms = to_ms(claim.filed_at)
        past = [each for each in policies[claim.policy_id] if each[0] > now_ms - YEAR_MS]
        vector = [*own_features(claim, now_ms), *policy_features(past, now_ms)]
        policies[claim.policy_id] = [*past, [now_ms, claim.total_claim_cents]]
        vector += [NAN] * (FEATURES - len(vector))
        [decision] = model.decide([claim.claim_id], [vector])
        await decisions.send(key=claim.claim_id, value=decision)


if __name__ == "__main__":
    rare_collections()
    try:
        app.main()
    finally:
        tell(model, {"faust-streaming": version("faust-streaming")})
