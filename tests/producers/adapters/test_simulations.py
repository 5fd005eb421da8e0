"""A simulated world goes on: after an interruption, and for more days, with the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.errors import ConfigError, StateError
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims import ClaimAdjudicated, ClaimFiled, PolicyChanged
from producers.adapters import simulations
from producers.adapters.simulations import Recorded, read_recorded, run_simulation
from producers.simulation import simulator
from producers.simulation.config import Drift, Ring, SimulationConfig
from producers.simulation.event_rows import EventClasses
from producers.simulation.simulator import Simulation

TOPICS = [ClaimFiled.topic, PolicyChanged.topic, ClaimAdjudicated.topic]
WORLD = SimulationConfig(days=9, claims_per_day=40, policies=150)


def simulation(config: SimulationConfig) -> Simulation:
    return Simulation(config, EventClasses(ClaimFiled, PolicyChanged, ClaimAdjudicated))


def open_log(folder: Path) -> EmbeddedLog:
    folder.mkdir(exist_ok=True)
    log = EmbeddedLog(folder / "log.db")
    for topic in TOPICS:
        log.create_topic(topic, WORLD.partitions)
    return log


def run(folder: Path, recorded: Recorded, progress=simulations.no_progress) -> int:
    with open_log(folder) as log:
        made = simulation(recorded.config)
        return run_simulation(folder, log, recorded, made, folder / "truth", progress)


def first(config: SimulationConfig = WORLD) -> Recorded:
    return Recorded(config, 0, config.days, {"days": config.days}, 0)


def following(folder: Path, days: int, *more) -> Recorded:
    begun = read_recorded(folder)
    assert begun is not None
    with open_log(folder) as log:
        config = begun.config.longer(days, *more)
        return Recorded(
            config, begun.until_day, config.days, {}, simulations.records_on(log, TOPICS)
        )


def records(folder: Path) -> list[tuple[str, int, bytes, int]]:
    with open_log(folder) as log:
        return [
            (topic, partition, record.value, record.log_time_ms)
            for topic in TOPICS
            for partition in range(WORLD.partitions)
            for record in log.read(topic, partition, 0, 10**6)
        ]


def truth(folder: Path) -> list[dict]:
    return pq.read_table(folder / "truth").to_pylist()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator.Simulation.chunks, "__defaults__", (None, 50))


def test_all_of_a_simulation_is_on_the_log_as_without_a_record(tmp_path: Path) -> None:
    written = run(tmp_path / "a", first())
    chunks = list(simulation(WORLD).chunks())
    assert written == sum(chunk.records_count for chunk in chunks) == len(records(tmp_path / "a"))
    plain = sorted(v for chunk in chunks for part in chunk.parts for v in part.values)
    assert sorted(value for _, _, value, _ in records(tmp_path / "a")) == plain
    assert [row["claim_id"] for row in truth(tmp_path / "a")] == [
        claim for chunk in chunks for claim in chunk.truth.claim_id
    ]


@pytest.mark.parametrize("after", [1, 2, 7])
def test_an_interrupted_simulation_ends_as_if_it_had_not_been(tmp_path: Path, after: int) -> None:
    run(tmp_path / "whole", first())
    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if len(done) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", first(), stop)
    begun = read_recorded(tmp_path / "cut")
    assert begun == first()
    assert 0 < len(records(tmp_path / "cut")) < len(records(tmp_path / "whole"))
    assert run(tmp_path / "cut", begun) == len(records(tmp_path / "whole")) - sum(done)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    assert truth(tmp_path / "cut") == truth(tmp_path / "whole")
    assert read_recorded(tmp_path / "cut") == replace_finished(begun)


def replace_finished(recorded: Recorded) -> Recorded:
    return Recorded(recorded.config, recorded.from_day, recorded.until_day, recorded.asked,
                    recorded.before, True)  # fmt: skip


def test_a_longer_world_begins_with_the_same_bytes_and_has_new_ids(tmp_path: Path) -> None:
    run(tmp_path / "a", first())
    before, ids = records(tmp_path / "a"), {row["claim_id"] for row in truth(tmp_path / "a")}
    more = (Drift(10, "inflation", 0.3),), (Ring(11, 5),)
    added = run(tmp_path / "a", following(tmp_path / "a", 4, *more))
    after = records(tmp_path / "a")
    assert added == len(after) - len(before) > 100
    assert not set(before) - set(after)
    again = {row["claim_id"] for row in truth(tmp_path / "a")}
    assert ids < again
    claims = [v for topic, _, v, _ in after if topic == ClaimFiled.topic]
    assert len(set(claims)) == len(
        {v.split(b'"claim_id":"')[1][:13] for v in claims if b'"claim_id":"' in v}
    )
    assert sum((row["ring"] or "").startswith("commanded-") for row in truth(tmp_path / "a")) == 5
    first_new = min(t for _, _, _, t in set(after) - set(before))
    assert first_new >= WORLD.start_ms + WORLD.days * 86_400_000
    # the whole is the world of the longer config, and going on again is as deterministic
    run(tmp_path / "a", following(tmp_path / "a", 3))
    for days in (9, 4, 3):
        extra = more if days == 4 else ()
        run(tmp_path / "b", following(tmp_path / "b", days, *extra) if days != 9 else first())
    assert records(tmp_path / "a") == records(tmp_path / "b")


def test_a_day_that_has_passed_is_refused() -> None:
    for more in (((Drift(8, "inflation", 0.1),),), ((), (Ring(0, 5),))):
        with pytest.raises(ConfigError, match="goes on at day 9"):
            WORLD.longer(3, *more)


def test_a_log_that_others_wrote_to_meanwhile_is_refused(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", first(), stop)
    with open_log(tmp_path / "a") as log:
        log.append([Outgoing(ClaimFiled.topic, 0, b"k", b"{}", 5)])
    there = len(records(tmp_path / "a"))
    with pytest.raises(StateError, match="others have written"):
        run(tmp_path / "a", first())
    assert len(records(tmp_path / "a")) == there


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / simulations.NAME).write_text('{"config": 5}')
    with pytest.raises(StateError, match="damaged"):
        read_recorded(tmp_path)
    assert read_recorded(tmp_path / "nothing") is None


def test_ends_change_nothing_before_them() -> None:
    plain, longer = simulation(WORLD), simulation(replace(WORLD, days=30, ends=(9,)))
    values = [[v for c in s.chunks(9) for p in c.parts for v in p.values] for s in (plain, longer)]
    assert values[0] == values[1]
