"""Measure what reasons for reviewed claims cost, on a folder that was streamed and has a model.

    python -m benchmarks.reasons FOLDER

Each batch of the log is applied once, by the folder's newest model, and decided on three times:
without reasons, with those of referred claims only, and with those of reviewed ones as well. Only
the CPU time of this process is counted, so that others on the machine matter little.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time

import msgspec

from benchmarks.line import KEY, NOW_MS, terms_of
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace_examples.auto_claims import DOMAIN
from models.registry.adapters.folder import FolderRegistry
from models.scorer import Scorer
from stream.adapters.embedded.log import EmbeddedSource
from stream.adapters.process.garbage import rare_collections
from stream.engine.decider import Decider
from stream.engine.engine import Engine
from stream.journal.plan import plan_of

BATCH_RECORDS, MOST_BATCHES = 2000, 20


def main(folder: Path) -> None:
    """Measure, and print the figures."""
    registry = FolderRegistry(folder / "models", DOMAIN.name)
    ref = registry.versions()[-1]
    scorer = Scorer.load(registry.load(ref))
    log = EmbeddedLog(folder / "log.db", durable=False)
    terms = terms_of(DOMAIN, log.topics()[DOMAIN.claim.topic], 30, 400)
    engine = Engine(DOMAIN, terms, KEY, lambda _: scorer)
    source = EmbeddedSource(log, DOMAIN.topics, terms.partitions)
    source.order_topics(engine.tie_order)
    deciders = {
        "none": Decider(DOMAIN, msgspec.structs.replace(terms, reasons=0)),
        "refer": Decider(DOMAIN, terms),
        "review": Decider(DOMAIN, msgspec.structs.replace(terms, reasons_for="review")),
    }
    cpu_s, counts, records = dict.fromkeys(deciders, 0.0), [0, 0, 0], 0
    applied_s = 0.0
    while engine.plan < MOST_BATCHES and (batch := source.poll(engine.positions, BATCH_RECORDS)):
        plan = plan_of(engine.plan + 1, batch, ref, NOW_MS)
        began_s = process_time()
        applied = engine.apply(plan, batch)
        applied_s += process_time() - began_s
        records += len(batch)
        # in turn first, so that neither has the warmer caches
        for each in list(deciders)[:: 1 if plan.number % 2 else -1]:
            began_s = process_time()
            effects = deciders[each].decide(applied)
            if plan.number > 1:  # the first one loads kernels
                cpu_s[each] += process_time() - began_s
        found = effects.counts
        counts = [a + b for a, b in zip(counts, (found.claims, found.reviewed, found.referred),
                                        strict=True)]  # fmt: skip
    claims, reviewed, referred = counts
    print(f"{records:,} records, {claims:,} claims, {reviewed:,} reviewed, {referred:,} referred")
    print(f"apply: {1e6 * applied_s / records:.1f} us of CPU a record")
    for each, took_s in cpu_s.items():
        print(f"decide, reasons_for = {each}: {1e6 * took_s / records:.1f} us of CPU a record")
    one_us = 1e6 * (cpu_s["refer"] - cpu_s["none"]) / referred
    print(f"reasons: {one_us:.1f} us of CPU for each claim that gets them")


if __name__ == "__main__":
    with rare_collections():
        main(Path(sys.argv[1]))
