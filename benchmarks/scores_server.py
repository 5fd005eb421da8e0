"""Serve looks at the canonical domain over HTTP, with a worker's engine in a thread beside it.

    python -m benchmarks.scores_server PORT MODELS POLICIES CLAIMS

The parts are those of `claimtrace serve`: the same queue, the same service, the same application.
"""

from __future__ import annotations

import sys
import threading
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn

from benchmarks.canonical import DOMAIN, as_records, events
from benchmarks.champion import load_champion, open_line
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import ModelRef
from models.scorer import Scorer
from serving.adapters.http.app import build_app
from serving.adapters.http.endpoint import Parts
from serving.adapters.looks.model_shelf import ModelShelf, Registered
from serving.adapters.looks.service import LookService
from stream.adapters.process.garbage import rare_collections
from stream.engine.engine import Engine
from stream.journal.plan import TopicPartition, plan_of

BATCH = 2_000


def warmed(folder: Path, models: Path, policies: int, count: int) -> Engine:
    """Return an engine with some claims in its windows."""
    line = open_line(folder, policies, load_champion(models))
    engine, sent = line.engine(), events(policies, count)
    positions: dict[TopicPartition, int] = {}
    while batch := list(islice(sent, BATCH)):
        records = as_records(batch, positions)
        engine.step(plan_of(engine.plan + 1, records, line.champion, 0), records)
    line.close()
    return engine


def serve(port: int, models: Path, policies: int, count: int) -> None:
    """Serve until a signal comes."""
    clock, scorer = SystemClock(), load_champion(models)

    def in_charge(_: ModelRef) -> Scorer:
        return scorer

    registered = Registered(lambda: [scorer.ref], lambda _: "", in_charge)
    looks = LookService(4096, 10**12, 60.0, ModelShelf(registered, 1, in_charge), clock, DOMAIN)
    woken, ended, ready = threading.Event(), threading.Event(), threading.Event()
    looks.desk.wake = woken.set

    def work() -> None:
        with TemporaryDirectory() as folder, rare_collections():
            engine = warmed(Path(folder), models, policies, count)
            looks.freshness.complete(clock.now_ms())
            ready.set()
            while not ended.is_set():
                woken.wait(1)
                woken.clear()
                while looks.desk.is_waited_for:
                    looks.serve(engine)

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    app = build_app(Parts(looks=looks))
    try:
        uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools",
                    log_level="warning", access_log=False)  # fmt: skip
    finally:
        ended.set()
        woken.set()
        thread.join()
        looks.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
