"""A canary and its roll-back in the middle of a stream that several workers share, on real servers.

All workers read the same registry; whoever writes the next plan names the roll-out in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimtrace.decisions import DECISIONS_TOPIC
from stream.proofs.verify import check_chains, replay
from tests.contracts.test_transports import SEED, crash_at, story_of
from tests.contracts.transport_grounds import PARTITIONS, Ground, KafkaGround, LocalGround
from tests.simulation.histories import History, a_history
from tests.worlds import rollouts
from tests.worlds.models import a_scorer
from tests.worlds.rollouts import a_rollout, strict
from tests.worlds.stream_folder import Crash

GROUNDS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "local": (LocalGround, ()),
    "kafka": (KafkaGround, ("kafka",)),
}
SMALL = a_rollout(1, share_ppm=100_000, scorer=a_scorer)
GROWN = a_rollout(2, share_ppm=400_000, scorer=a_scorer)
STRICT = a_rollout(
    3, canary=7, shadows=(), scorer=lambda n: rollouts.a_scorer(n) if n == 7 else a_scorer(n),
    **strict(5 * 86_400_000, min_count=7),
)  # fmt: skip
"""Its canary refers nothing, the champion nearly all."""


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kind, fixtures = GROUNDS[request.param]
    made = kind(tmp_path, *(request.getfixturevalue(name) for name in fixtures))
    made.lease_s = 15.0
    yield made
    made.close()


def stages_of(count: int) -> list[list[Any]]:
    """The rows of a history in parts."""
    entries = [entry for stage in a_history(SEED).stages for entry in stage]
    rows = [row for stage in story_of(History(PARTITIONS, [entries])).stages for row in stage]
    return [rows[len(rows) * i // count : len(rows) * (i + 1) // count] for i in range(count)]


def check(ground: Ground) -> list[tuple[Any, Any]]:
    """Replay from the plans alone; returns version and arm of each decision."""
    decisions = ground.records(DECISIONS_TOPIC)
    parts = {p: [r for r in decisions if r.partition == p] for p in range(PARTITIONS)}
    assert check_chains(dict(parts), may_repeat=True).broken == []
    plans, source = ground.proof()
    proved = replay(ground.engine(), plans, source, lambda p: iter(parts[p]), may_repeat=True)
    assert (proved.differ, proved.first) == (0, "")
    assert proved.decisions == len({r.value for r in decisions}) > 20
    told = [json.loads(value) for value in dict.fromkeys(r.value for r in decisions)]
    return [(d.get("rollout", {}).get("version"), d.get("arm")) for d in told]


@pytest.mark.server
def test_a_canary_grows_and_is_rolled_back_while_two_workers_run(ground: Ground) -> None:
    stages = stages_of(4)
    names = ("a", "b") if ground.has_group else ("a",)
    workers = [ground.start(name) for name in names]
    if ground.has_group:
        ground.share(*workers)
    for stage, current in zip(stages, (None, SMALL, GROWN, None), strict=True):
        ground.rollouts.current = current
        ground.put(stage)
        ground.run(*workers)
    for worker in workers:
        worker.finish()
    found = check(ground)
    assert {version for version, _ in found} == {None, 1, 2}
    assert {arm for version, arm in found if version} == {"champion", "canary"}


@pytest.mark.server
@pytest.mark.parametrize("point", ["planned", "emitted"])
def test_a_worker_dies_at_the_switch_and_another_goes_on(ground: Ground, point: str) -> None:
    first_part, second_part = stages_of(2)
    ground.rollouts.current = SMALL
    first = ground.start("a", crash_at(point, 4))
    ground.put(first_part)
    with pytest.raises(Crash):
        ground.run(first)
    first.die()
    ground.rollouts.current = GROWN
    second = ground.start("b" if ground.has_group else "a")
    ground.run(second)
    ground.rollouts.current = None
    ground.put(second_part)
    ground.run(second)
    second.finish()
    assert {version for version, _ in check(ground)} == {None, 1, 2}


@pytest.mark.server
def test_a_breach_is_known_to_the_worker_that_takes_over(ground: Ground) -> None:
    """The registry goes on saying that the roll-out is in force: nobody could write there."""
    *first_parts, second_part = stages_of(3)
    ground.rollouts.current = STRICT
    first = ground.start("a")
    ground.put([row for part in first_parts for row in part])
    ground.run(first)
    assert first.driver.engine.breached == STRICT
    first.die()
    second = ground.start("b" if ground.has_group else "a")
    ground.put(second_part)
    ground.run(second)
    second.finish()
    plans, _ = ground.proof()
    named = [plan.rollout for plan in plans]
    until = named.index(None)
    assert named == [STRICT] * until + [None] * (len(named) - until)
    assert {version for version, _ in check(ground)} == {None, 3}
