"""Roll-outs in the middle of a stream: from border to border, through crashes, and their proofs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from claimtrace.decisions import ALERTS_TOPIC, DECISIONS_TOPIC, RolloutRef
from claimtrace.editions import ROLLOUTS
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.embedded.file_journal import read_plans
from stream.adapters.embedded.log import EmbeddedSource
from stream.journal.plan import Plan
from stream.proofs.verify import check_chains, replay
from stream.worker.driver import CRASH_POINTS
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.rollouts import a_rollout, a_scorer, scorer_of, strict
from tests.worlds.stream_folder import Crash, World

RECORDS = as_records(a_stream(3, 240))
SMALL, GROWN = a_rollout(1, share_ppm=100_000), a_rollout(2, share_ppm=400_000)
STRICT = a_rollout(3, canary=6, shadows=(), **strict())
LENIENT = a_rollout(4, canary=6, shadows=(), guards=strict()["guards"])
BATCH = 25


def some_in_the_long_run(points: Sequence[str], *usual: str) -> list[Any]:
    """Return crash points as parameters; all but the usual ones are tested in the long run."""
    return [p if p in usual else pytest.param(p, marks=pytest.mark.long) for p in points]


Turn = dict[int, RolloutRef | None]
"""The roll-out that is set before the plan of a number."""


class Turns(World):
    """A world whose roll-outs change at given plans, whoever writes them."""

    turns: Turn

    def start(self, crash: Callable[[str], None] = lambda point: None) -> Any:
        driver, log = super().start(crash)
        rollouts, turns = self.rollouts, self.turns

        def in_force() -> RolloutRef | None:
            before = [at for at in turns if at <= driver.engine.plan + 1]
            return turns[max(before)] if before else None

        rollouts.in_force = in_force  # type: ignore[method-assign]
        return driver, log

    def plans(self) -> list[Plan]:
        return list(read_plans(self.folder / "journal"))

    def decisions(self) -> list[dict[str, Any]]:
        return [json.loads(r.value) for part in self.outputs()[DECISIONS_TOPIC] for r in part]

    def check(self) -> None:
        """Replay without knowing what was set: only the plans say it."""
        partitions = dict(enumerate(self.outputs()[DECISIONS_TOPIC]))
        with self.open_log() as log:
            source = EmbeddedSource(log, DOMAIN.topics, self.partitions)
            found = replay(self.engine(), self.plans(), source, lambda p: iter(partitions[p]))
        assert (found.differ, found.first) == (0, "")
        assert found.decisions == len(self.decisions()) > 100
        assert check_chains(partitions).broken == []


def a_world(folder: Path, turns: Turn, **fields: Any) -> Turns:
    world = Turns(folder, scorer_of=scorer_of, champion=a_scorer(1).ref, **fields)
    world.turns = turns
    world.put(RECORDS)
    return world


MIDDLE: Turn = {3: SMALL, 6: GROWN, 8: None}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Turns:
    world = a_world(tmp_path_factory.mktemp("undisturbed"), MIDDLE)
    world.run(batch=BATCH)
    return world


def test_a_change_takes_effect_at_a_plans_border(undisturbed: Turns) -> None:
    named = [plan.rollout for plan in undisturbed.plans()]
    assert named[:8] == [None, None, SMALL, SMALL, SMALL, GROWN, GROWN, None]
    planned = {
        (span.topic, at): plan
        for plan in undisturbed.plans()
        for span in plan.ranges
        for at in range(span.from_position, span.to_position)
    }
    arms: dict[tuple[int, str], int] = {}
    for decision in undisturbed.decisions():
        rollout = planned[decision["topic"], decision["position"]].rollout
        version = None if rollout is None else rollout.version
        assert decision.get("rollout", {}).get("version") == version
        assert decision["schema_version"] == 3
        if version is not None:
            key = version, decision["arm"]
            arms[key] = arms.get(key, 0) + 1
    assert set(arms) == {(v, arm) for v in (1, 2) for arm in ("champion", "canary")}
    undisturbed.check()


@pytest.mark.parametrize("point", some_in_the_long_run(CRASH_POINTS, "planned", "snapshotted"))
def test_a_crash_around_the_switch_leaves_no_trace(
    point: str, undisturbed: Turns, tmp_path: Path
) -> None:
    world = a_world(tmp_path, MIDDLE)
    seen = 0

    def crash(passed: str) -> None:
        nonlocal seen
        seen += passed == point
        if passed == point and seen == (1 if point in ("begun", "flushed", "snapshotted") else 3):
            raise Crash(point)

    with pytest.raises(Crash):
        world.run(crash, batch=BATCH)
    world.run(batch=BATCH)
    assert world.outputs() == undisturbed.outputs()
    assert world.offline_rows() == undisturbed.offline_rows()
    assert world.state() == undisturbed.state()


def test_offline_rows_name_the_model_that_decided(undisturbed: Turns) -> None:
    rows = undisturbed.offline().dataset("decisions").to_table().to_pylist()
    decided = {each["claim_id"]: each for each in undisturbed.decisions()}
    assert len(rows) == len(decided)
    for row in rows:
        decision = decided[row["claim_id"]]
        assert row["model_version"] == decision["model"]["version"]
        assert row["threshold"] == decision["threshold"]
        assert row["arm"] == decision.get("arm")
        assert row["rollout_version"] == decision.get("rollout", {}).get("version")
        others = decision["shadow"] or None
        assert row["other_scores"] == (others and [each["score"] for each in others])
        assert row["other_outcomes"] == (others and [each["outcome"] for each in others])
        names = others and [f"{o['role']} claims/{o['model']['version']}" for o in others]
        assert row["other_models"] == names


def alerts_of(world: Turns) -> list[dict[str, Any]]:
    found = [json.loads(r.value) for part in world.outputs()[ALERTS_TOPIC] for r in part]
    return [each for each in found if each["layer"] == "guard"]


def test_a_breach_ends_a_canary_within_two_plans(tmp_path: Path) -> None:
    world = a_world(tmp_path, {1: STRICT})
    world.run(batch=BATCH)
    named = [plan.rollout for plan in world.plans()]
    until = named.index(None)
    assert named == [STRICT] * until + [None] * (len(named) - until)
    (alert,) = alerts_of(world)
    assert alert["model"] == "claims/6"
    assert "referral rate" in alert["subjects"]
    closed = next(
        plan.number
        for plan in world.plans()
        if max(d["event_time_ms"] for d in of_plan(world, plan)) >= alert["at_ms"]
    )
    assert closed < until + 1 <= closed + 2, "plan numbers begin at 1"
    assert {ref for ref, _ in world.rollouts.ended} == {STRICT}
    assert "referral rate: refers" in world.rollouts.ended[0][1]
    world.check()


def of_plan(world: Turns, plan: Plan) -> list[dict[str, Any]]:
    return [
        d for d in world.decisions()
        for span in plan.ranges
        if (span.topic, span.partition) == (d["topic"], d["partition"])
        and span.from_position <= d["position"] < span.to_position
    ] or [{"event_time_ms": 0}]  # fmt: skip


def test_a_breach_without_a_standing_approval_is_an_alert_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path, {1: LENIENT})
    world.run(batch=BATCH)
    assert {plan.rollout for plan in world.plans()} == {LENIENT}
    assert alerts_of(world)[0]["subjects"]
    assert world.rollouts.ended == []
    world.check()


@pytest.mark.parametrize(
    "point", some_in_the_long_run(("planned", "emitted", "snapshotted", "committed"), "snapshotted")
)
def test_a_breach_is_remembered_through_crashes(point: str, tmp_path: Path) -> None:
    """From a snapshot and from the journal: the roll-out doesn't come back."""
    calm = a_world(tmp_path / "calm", {1: STRICT})
    calm.run(batch=BATCH)
    world = a_world(tmp_path / "crashing", {1: STRICT}, snapshot_every=60)
    for nth in (1, 2, 3):
        seen = 0

        def crash(passed: str, nth: int = nth) -> None:
            nonlocal seen
            seen += passed == point
            if passed == point and seen == nth:
                raise Crash(point)

        try:
            world.run(crash, batch=BATCH)
        except Crash:
            continue
    world.run(batch=BATCH)
    assert world.outputs() == calm.outputs()
    assert [plan.rollout for plan in world.plans()] == [plan.rollout for plan in calm.plans()]
    world.check()


def test_no_plan_names_a_roll_out_before_its_edition(tmp_path: Path) -> None:
    world = a_world(tmp_path, {1: SMALL}, changes={"edition": ROLLOUTS - 1})
    world.run(batch=BATCH)
    assert {plan.rollout for plan in world.plans()} == {None}
    world.upgrade()
    later = as_records(a_stream(3, 300))[240:]
    world.put(later)
    world.run(batch=BATCH)
    assert {plan.rollout for plan in world.plans()} == {None, SMALL}
    world.check()
