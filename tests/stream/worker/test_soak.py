"""Memory stays flat while events pass through: what is out of every window is given back.

SOAK_EVENTS=1000000 pytest tests/stream/worker/test_soak.py    a long one; minutes
"""

from __future__ import annotations

import os
import resource
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from claimtrace.encoding.encoder import encode
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims import DOMAIN
from stream.engine.engine import Engine
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Stores
from tests.simulation.shared_parts import (
    Member,
    OwnSnapshots,
    SharedClock,
    SharedJournal,
    SharedRows,
    SharedSource,
)
from tests.simulation.shared_world import Network, SharedWorld
from tests.worlds.random_events import DAY_MS, KEY, START, a_claim, ms
from tests.worlds.stream_folder import no_models, terms

pytestmark = pytest.mark.slow

EVENTS = int(os.environ.get("SOAK_EVENTS", "24000"))
CHUNK = 1000
A_YEAR = 9000
"""Claims come an hour apart, so that the widest window is full after so many."""


def resident_bytes() -> int:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat() -> None:
    rng = np.random.default_rng(5)
    world = SharedWorld(rng, 1, lambda: None)
    network = Network(world)
    driver = Driver(
        Engine(DOMAIN, terms(1, lateness_ms=DAY_MS, remember_ms=3 * DAY_MS), KEY, no_models),
        LogParts(SharedSource(world), SharedJournal(world), network, Member(world, network)),
        Stores(SharedRows(world), OwnSnapshots(world)),
        Cadence(snapshot=(2 * CHUNK, 1e9), offline=(CHUNK, 1e9)),
        SharedClock(world, lambda: None),
        lambda: None,
        WorkerObserver(),
    )
    driver.recover()
    when, sizes, retained = START, [], []
    for number in range(EVENTS):
        when += timedelta(hours=1)
        claim = a_claim(rng, number, when)
        world.put(Outgoing(claim.topic, 0, b"k", encode(claim), ms(when)))
        if number % CHUNK == CHUNK - 1:
            while driver.engine.positions.get(("claims.filed", 0), 0) <= number:
                driver.step(CHUNK // 2)
            for store in (world.outputs, world.rows.tables):
                for kept in store.values():
                    kept.clear()
            del world.inputs["claims.filed", 0][:-1]
            sizes.append(resident_bytes())
            retained.append(driver._ownership._retained.records)
    assert driver.counts.claims == EVENTS
    assert max(retained) <= 2 * CHUNK
    full = sizes[2 * A_YEAR // CHUNK :]
    growth = full[-1] - full[0]
    print(f"{EVENTS:,} events: {full[0] / 2**20:.0f} MiB, then {growth / 2**20:+.1f} MiB")
    assert growth < 0.03 * full[0] + (8 << 20), [size >> 20 for size in sizes]
