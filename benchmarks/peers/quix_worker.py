"""Run Quix Streams: a chain of functions between two topics, with exact windows in its state.

    python -m benchmarks.peers.quix_worker JOB.json            a list of past claims in the state
    python -m benchmarks.peers.quix_worker --sliding JOB.json  a sliding window of Quix Streams

The code follows the documentation of Quix Streams: state is by message key, which is the policy. It
does less than the engine. The features of the other four entities are missing, as each would need a
`group_by` (a topic of its own, written and read back) and a join. Labels are dropped. Prediction is
per event, as events come one at a time. With `--sliding` there is a single window, of 365 days
including the current claim, as several windows of one dataframe have separate outputs.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import quixstreams.dataframe.windows.aggregations as agg
from quixstreams import Application, State

from benchmarks.peers.job import (
    FEATURES,
    Fact,
    Job,
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

YEAR_MS = 365 * DAY_MS


def remember(claim: Fact, state: State) -> tuple[str, list[float]]:
    """Compute the policy's features from its past claims in the state, and add the claim."""
    now_ms = to_ms(claim.filed_at)
    past = [each for each in state.get("past", []) if each[0] > now_ms - YEAR_MS]
    vector = [*own_features(claim, now_ms), *policy_features(past, now_ms)]
    past.append([now_ms, claim.total_claim_cents])
    state.set("past", past)
    return claim.claim_id, vector


def flatten(claim: Fact) -> dict[str, Any]:
    """Make the value that goes through a window; the window's output is JSON with aggregates."""
    own = own_features(claim, to_ms(claim.filed_at))
    return {
        "claim": [claim.claim_id, *(None if each != each else each for each in own)],
        "cents": claim.total_claim_cents,
    }


def unfold(window: dict[str, Any]) -> tuple[str, list[float]]:
    """Read claim id and vector from the output of the sliding window."""
    claim_id, *own = window["claim"]
    vector = [NAN if each is None else each for each in own]
    return claim_id, [*vector, NAN, window["count"], window["sum"], window["mean"], NAN]


def run(job: Job, sliding: bool) -> None:
    """Build the chain and run it until a SIGTERM, which Quix Streams handles itself."""
    rare_collections()
    model = Model(job)
    app = Application(
        broker_address=job.bootstrap,
        consumer_group=job.output,
        auto_offset_reset="earliest",
        state_dir=job.folder,
        loglevel="WARNING",
    )

    def decide(found: tuple[str, list[float]]) -> bytes:
        claim_id, vector = found
        return model.decide([claim_id], [vector + [NAN] * (FEATURES - len(vector))])[0]

    source = app.topic(job.source, value_deserializer="bytes", key_deserializer="str")
    output = app.topic(job.output, value_serializer="bytes", key_serializer="str")
    claims = app.dataframe(source).apply(decode).filter(lambda fact: not fact.adjudication_id)
    if sliding:
        window = claims.apply(flatten).sliding_window(timedelta(milliseconds=YEAR_MS)).agg(
            count=agg.Count(), sum=agg.Sum("cents"), mean=agg.Mean("cents"),
            claim=agg.Latest("claim"),
        )  # fmt: skip
        vectors = window.current().apply(unfold)
    else:
        vectors = claims.apply(remember, stateful=True)
    vectors.apply(decide).to_topic(output)
    app.run()
    tell(model, {"quixstreams": version("quixstreams")})


if __name__ == "__main__":
    run(read_job(), "--sliding" in sys.argv)
