"""The contract of all transports: no record is lost or contradicted, wherever a worker dies.

A worker that dies here closes its clients and finishes nothing; real processes are killed in
`test_kill9.py` and `test_fleet.py`.

"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC, DRIFT_TOPIC
from claimtrace.editions import NEWEST, OLDEST
from claimtrace.errors import ConfigError
from claimtrace.events import Outgoing, Record
from stream.journal.plan import TopicPartition
from stream.proofs.verify import check_chains, replay
from stream.worker.driver import CRASH_POINTS
from stream.worker.end_of_work import EndOfWork
from tests.contracts.kinesis_ground import (
    DynamoGroupGround,
    FanOutGround,
    KinesisGround,
    KinesisGroupGround,
)
from tests.contracts.transport_grounds import (
    GROUP_PARTITIONS,
    PARTITIONS,
    Ground,
    KafkaGround,
    Worker,
    engine_of,
)
from tests.contracts.transport_grounds import TRANSPORTS as SERVED
from tests.oracles.expected import OUTPUTS, Sent, expected, planned, records_of
from tests.servers.kafka import Cluster
from tests.simulation.histories import History, a_history, expected_of
from tests.worlds.stream_folder import Crash, terms

SEED = 46
NTH = {"begun": 2, "flushed": 2, "snapshotted": 1}
"""At other points the worker dies the third time; snapshots are rarer."""


class Story(NamedTuple):
    """The records that are put on the topics, and the results that must come of them."""

    stages: list[list[Outgoing]]
    records: list[list[Record]]
    wanted: dict[str, list[Outgoing]]
    claims: int
    dead: int

    @property
    def rows(self) -> list[Outgoing]:
        return [row for stage in self.stages for row in stage]


def story_of(history: History, *, plain: bool = False) -> Story:
    """Return a story of a history; some rows get headers and other keys.

    A value stays as it is. `plain`: every row has a key and none has headers, as some logs demand.

    """
    stages, number = [], 0
    for entries in history.stages:
        stage = []
        for entry in entries:
            headers = (("trace", b"t-%d" % number), ("", b"")) if number % 3 == 0 else ()
            key = None if number % 4 == 0 else b"k%d" % number
            if plain:
                headers, key = (), b"k%d" % number
            stage.append(entry.outgoing()._replace(key=key, headers=headers))
            number += 1
        stages.append(stage)
    whole = records_of([row for stage in stages for row in stage])
    records = [[whole.pop(0) for _ in stage] for stage in stages]
    wanted = expected(records, engine_of(terms(PARTITIONS)))
    by_hand = expected_of(history)
    return Story(stages, records, wanted, by_hand.claims, by_hand.dead)


@pytest.fixture(scope="module")
def stories() -> dict[bool, Story]:
    """Stories by whether the log has headers."""
    history = a_history(SEED)
    assert history.partitions == PARTITIONS
    entries = [entry for stage in history.stages for entry in stage]
    return {
        has_headers: story_of(History(PARTITIONS, [entries]), plain=not has_headers)
        for has_headers in (True, False)
    }


@pytest.fixture
def story(stories: dict[bool, Story], request: pytest.FixtureRequest) -> Story:
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    name = params.get("make") or params.get("make_shared")
    return stories[name is None or TRANSPORTS[name].has_headers]


TRANSPORTS: dict[str, type[Any]] = {
    **SERVED, "kinesis": KinesisGround, "kinesis one machine": KinesisGroupGround,
    "kinesis group": DynamoGroupGround,
    "kinesis fan-out": FanOutGround,
}  # fmt: skip
SPARED = {"kafka exactly once", "kinesis group", "kinesis one machine", "kinesis fan-out"}
"""Transports that are tested at each crash point in the long run only: they differ from the one
before in one part alone."""


SERVERS = {
    **dict.fromkeys(SERVED, ()), "kafka": ("kafka",), "kafka exactly once": ("kafka",),
    "kinesis": ("kinesis",), "kinesis group": ("kinesis", "dynamodb"),
    "kinesis one machine": ("kinesis",),
    "kinesis fan-out": ("ministack",),
}  # fmt: skip
"""The fixtures that each ground is made with."""


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.long) if name in SPARED else name
        for name in TRANSPORTS
    ]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes the ground of each transport; what a ground opened is closed afterwards."""
    yield from grounds(request, tmp_path)


@pytest.fixture(params=[name for name, ground in TRANSPORTS.items() if ground.has_group])
def make_shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes the grounds whose workers share the work."""
    yield from grounds(request, tmp_path)


def grounds(request: pytest.FixtureRequest, folder: Path) -> Iterator[Callable[..., Any]]:
    kind, fixtures = TRANSPORTS[request.param], SERVERS[request.param]
    servers = [request.getfixturevalue(name) for name in fixtures] or [None]
    made: list[Ground] = []

    def make(rows: Sequence[Outgoing] = (), **settings: Any) -> Ground:
        made.append(kind(folder / str(len(made)), *servers, **settings))
        made[-1].put(rows)
        return made[-1]

    yield make
    for ground in made:
        ground.close()


def crash_at(point: str, nth: int) -> Callable[[str], None]:
    left = nth

    def crash(passed: str) -> None:
        nonlocal left
        left -= passed == point
        if passed == point and left == 0:
            raise Crash(point)

    return crash


def as_planned(ground: Ground, story: Story) -> Story:
    """Return the story in the order of the journal: records put while workers read interleave anew.

    The order decides which of two conflicting records is refused, but not the number of claims.

    """
    records = [record for stage in story.records for record in stage]
    wanted = expected(planned(ground.proof()[0], records), ground.engine())
    assert len(wanted[DECISIONS_TOPIC]) == story.claims
    return story._replace(wanted=wanted, dead=len(wanted[DEAD_TOPIC]))


Lane = tuple[int, bytes]


def lanes(sent: Iterable[Sent]) -> dict[Lane, list[Sent]]:
    """Return the records sent for each input partition, in order, each at its first appearance.

    Dead letters of several topics share a partition, and may come from several workers.

    """
    found: dict[Lane, list[Sent]] = {}
    for each in dict.fromkeys(sent):
        source = dict(each.headers).get("x-dead-topic", b"")
        found.setdefault((each.partition, source), []).append(each)
    return found


def check(ground: Ground, story: Story, *, may_repeat: bool = True) -> None:
    """Check topics, journal and offline store against the story."""
    found = {topic: ground.records(topic) for topic in story.wanted}
    for topic in (DECISIONS_TOPIC, DEAD_TOPIC):
        sent = lanes(
            Sent(r.partition, r.key, r.value, ground.time_ms(r.log_time_ms), r.headers)
            for r in found[topic]
        )
        wanted = lanes(
            Sent(*row[1:])._replace(log_time_ms=ground.time_ms(row.log_time_ms))
            for row in story.wanted[topic]
        )
        assert sent.keys() == wanted.keys(), topic
        for lane, rows in wanted.items():
            assert sent[lane] == rows, f"{topic} {lane}"
    for topic in (DRIFT_TOPIC, ALERTS_TOPIC):
        values = sorted(row.value or b"" for row in story.wanted[topic])
        assert sorted({record.value or b"" for record in found[topic]}) == values, topic
    decisions, dead = found[DECISIONS_TOPIC], found[DEAD_TOPIC]
    assert len({r.value for r in decisions}) == story.claims
    check_dead(dead, story)
    if ground.once or not may_repeat:
        assert (len(decisions), len(dead)) == (story.claims, story.dead), "some came twice"
    check_proof(ground, decisions, story)
    check_rows(ground, decisions, story)


def check_dead(dead: Sequence[Record], story: Story) -> None:
    """Check that each refused record is a dead letter with key, bytes, headers and partition."""
    records = {(r.topic, r.partition, r.position): r for stage in story.records for r in stage}
    topic_partitions = set()
    for letter in dead:
        said = {name: value.decode() for name, value in letter.headers if name.startswith("x-dead")}
        topic_partition = (
            said["x-dead-topic"],
            int(said["x-dead-partition"]),
            int(said["x-dead-position"]),
        )
        record = records[topic_partition]
        assert (letter.key, letter.value or b"") == (record.key, record.value or b"")
        assert letter.headers[len(said) :] == record.headers
        assert letter.partition == record.partition
        assert said["x-dead-reason"]
        topic_partitions.add(topic_partition)
    assert len(topic_partitions) == story.dead


def check_proof(ground: Ground, decisions: Sequence[Record], story: Story) -> None:
    """Check that chains hold, that every record is in one plan, and that a replay is identical."""
    parts = {p: [r for r in decisions if r.partition == p] for p in range(PARTITIONS)}
    chained = check_chains(dict(parts), may_repeat=True)
    assert (chained.broken, chained.decisions) == ([], story.claims)
    plans, source = ground.proof()
    proved = replay(ground.engine(), plans, source, lambda p: iter(parts[p]), may_repeat=True)
    assert (proved.differ, proved.decisions) == (0, story.claims), proved.first
    assert proved.records == sum(len(stage) for stage in story.records)


def check_rows(ground: Ground, decisions: Sequence[Record], story: Story) -> None:
    """Check that the offline store has every record and every decision once."""
    store = ground.offline()
    claims = {(r.topic, r.partition, r.position) for s in story.records for r in s
              if r.topic == "claims.filed"}  # fmt: skip
    for table, count in (("events", sum(map(len, story.records))), ("decisions", story.claims)):
        columns = ["topic", "partition", "position"]
        rows = [tuple(r.values()) for r in store.dataset(table).to_table(columns).to_pylist()]
        assert len(rows) == len(set(rows)) == count, table
        assert table == "events" or set(rows) <= claims


# -- one worker -----------------------------------------------------------------------------------


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_at_any_step_leaves_no_trace(
    point: str, make: Callable[..., Ground], story: Story
) -> None:
    ground = make(story.rows)
    worker = ground.start("a", crash_at(point, NTH.get(point, 3)))
    with pytest.raises(Crash):
        ground.run(worker)
    worker.die()
    worker = ground.start("a")
    ground.run(worker)
    worker.finish()
    check(ground, story)


@pytest.mark.parametrize("point", ["applied", "emitted", "offline"])
def test_a_run_to_the_end_emits_stores_and_commits_what_a_crash_left(
    point: str, make: Callable[..., Ground], story: Story
) -> None:
    """The last plan is in the journal, so the worker that follows has nothing to read."""
    ground = make(story.rows)
    dying: list[Worker] = []

    def crash(passed: str) -> None:
        if passed == point and dying and ground.is_read(dying[0]):
            raise Crash(point)

    dying.append(ground.start("a", crash))
    with pytest.raises(Crash):
        ground.work_until(lambda: False, *dying)
    dying[0].die()
    worker = ground.start("a")
    run_to_the_end(ground, worker)
    worker.finish()
    check(ground, as_planned(ground, story))
    worker = ground.start("a")
    run_to_the_end(ground, worker)  # nothing is left, and it ends
    worker.finish()
    check(ground, as_planned(ground, story))


def test_a_run_to_the_end_sends_what_a_topic_refused_once_that_is_mended(
    kafka: Cluster, tmp_path: Path, story: Story
) -> None:
    """Larger decisions are refused, smaller ones are not: none may be missing before another."""
    sizes = sorted(len(row.value or b"") for row in story.wanted[DECISIONS_TOPIC])
    alone = {"batch.num.messages": 1, "queue.buffering.max.ms": 0}
    ground = KafkaGround(tmp_path, kafka, compression="none", properties=alone)
    try:
        limit_message_bytes(kafka, DECISIONS_TOPIC, sizes[len(sizes) // 2] + 250)
        ground.put(story.rows)
        worker = ground.start("a")
        with pytest.raises(ConfigError, match="too large"):
            ground.run(worker, batch=500)
        worker.die()
        before = len(ground.records(DECISIONS_TOPIC))
        assert before < story.claims
        limit_message_bytes(kafka, DECISIONS_TOPIC, 2**20)
        worker = ground.start("a")
        run_to_the_end(ground, worker)
        worker.finish()
        check(ground, story)
    finally:
        ground.close()


def limit_message_bytes(cluster: Cluster, topic: str, limit_bytes: int) -> None:
    """Change how large a record of a topic may be."""
    entry = ConfigEntry("max.message.bytes", str(limit_bytes),
                        source=ConfigSource.DYNAMIC_TOPIC_CONFIG,
                        incremental_operation=AlterConfigOpType.SET)  # fmt: skip
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = cluster.admin()  # kept: its answers end with it
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


def test_a_second_clean_start_emits_nothing(make: Callable[..., Ground]) -> None:
    ground = make()
    story = story_of(a_history(SEED), plain=not ground.has_headers)
    ground.put(story.stages[0])
    worker = ground.start("a")
    ground.run(worker)
    worker.finish()
    before = left(ground)
    worker = ground.start("a")
    ground.run(worker)
    for _ in range(5):
        assert worker.driver.step(8) == 0
    worker.finish()
    assert left(ground) == before
    ground.put(story.stages[1])
    worker = ground.start("b")  # without a snapshot
    ground.run(worker)
    worker.finish()
    check(ground, story, may_repeat=False)


def run_to_the_end(ground: Ground, worker: Worker) -> None:
    """Step a worker as `claimtrace stream --until-end` does."""
    ends = dict(ground.ends)

    def is_through(positions: dict[TopicPartition, int]) -> bool:
        return all(positions.get(each, 0) >= end for each, end in ends.items())

    end = EndOfWork(worker.driver, is_through, SystemClock())
    until_s = time.monotonic() + 60
    while worker.driver.step(8) or not end.is_reached():
        assert time.monotonic() < until_s, (worker.owned, worker.lines[-3:])
        time.sleep(0.003)


def left(ground: Ground) -> tuple[dict[str, int], int, int]:
    """Return how many records and rows outputs, journal and offline store hold."""
    counts = {topic: len(ground.records(topic)) for topic in OUTPUTS}
    store = ground.offline()
    rows = sum(store.dataset(table).count_rows() for table in store.tables())
    return counts, len(ground.proof()[0]), rows


def upgraded_story(ground: Ground) -> Story:
    """Return a story of two stages for a journal that begins with the oldest edition."""
    ground.edition = OLDEST
    return story_of(a_history(SEED), plain=not ground.has_headers)


def check_upgraded(ground: Ground, story: Story) -> None:
    """Check that decisions are those of a replay under both editions, and rows are there once."""
    decisions = ground.records(DECISIONS_TOPIC)
    check_proof(ground, decisions, story)
    check_rows(ground, decisions, story)
    plans, _ = ground.proof()
    begins = [at for at, plan in enumerate(plans) if plan.edition]
    assert len(begins) == 1
    assert 0 < begins[0] < len(plans) - 1, "there are plans of both editions"


def test_an_upgrade_between_two_runs(make: Callable[..., Ground]) -> None:
    ground = make()
    story = upgraded_story(ground)
    ground.put(story.stages[0])
    worker = ground.start("a")
    ground.run(worker)
    worker.finish()
    ground.upgrade()
    ground.put(story.stages[1])
    worker = ground.start("a", crash_at("emitted", 2))
    assert worker.driver.engine.edition == NEWEST
    with pytest.raises(Crash):
        ground.run(worker)
    worker.die()
    for name in ("a", "b"):  # from its snapshots, and without any
        worker = ground.start(name)
        ground.run(worker)
        assert worker.driver.engine.edition == NEWEST
        worker.finish()
    check_upgraded(ground, story)


# -- several workers ------------------------------------------------------------------------------


def test_two_workers_share_the_work_and_one_leaves(
    make_shared: Callable[..., Any], story: Story
) -> None:
    ground = make_shared()
    ground.lease_s = 15.0  # no worker steps during `put`, which may be slow: that is no death
    first, second = ground.start("a"), ground.start("b")
    ground.share(first, second)
    ground.put(story.rows)
    ground.work_until(lambda: first.driver.engine.plan >= 6, first, second)
    first.finish()
    ground.run(second)
    second.finish()
    check(ground, as_planned(ground, story), may_repeat=False)


def test_an_upgrade_beside_workers_and_then_a_take_over(make_shared: Callable[..., Any]) -> None:
    ground = make_shared()
    ground.lease_s = 15.0
    story = upgraded_story(ground)
    first, second = ground.start("a"), ground.start("b")
    ground.share(first, second)
    ground.put(story.stages[0])
    ground.run(first, second)
    ground.upgrade()
    ground.put(story.stages[1])
    ground.work_until(lambda: first.driver.engine.edition == NEWEST, first, second)
    assert any(f"edition {NEWEST} begins" in line for line in first.lines)
    first.finish()
    ground.run(second)
    assert second.driver.engine.edition == NEWEST
    second.finish()
    check_upgraded(ground, story)


@pytest.mark.parametrize(
    ("point", "nth"), [("emitted", 4), pytest.param("planned", 2, marks=pytest.mark.long)]
)
def test_a_worker_dies_without_leaving(
    point: str, nth: int, make_shared: Callable[..., Any], story: Story
) -> None:
    """The group notices when the worker's session expires; later the worker is started again."""
    ground = make_shared()
    first = ground.start("a", crash_at(point, nth), instance="a")
    second = ground.start("b")
    ground.share(first, second)
    ground.put(story.rows)
    with pytest.raises(Crash):
        ground.run(first, second)
    first.die()
    ground.work_until(lambda: second.owned == GROUP_PARTITIONS, second)
    again = ground.start("a")  # which ends the transaction that it left open
    ground.share(second, again)
    ground.run(second, again)
    for worker in (again, second):
        worker.finish()
    check(ground, as_planned(ground, story))


def test_a_worker_that_was_silent_for_too_long_does_no_harm(
    kafka: Cluster, tmp_path: Path, story: Story
) -> None:
    """The group reassigns the worker's partitions while it sleeps in the middle of a batch."""
    ground = KafkaGround(tmp_path, kafka)
    quick = {"max.poll.interval.ms": 2000}
    first, second = ground.start("a", properties=quick), ground.start("b", properties=quick)
    ground.share(first, second)
    ground.put(story.rows)
    ground.work_until(lambda: first.driver.engine.plan >= 3, first, second)
    ground.work_until(lambda: second.owned == GROUP_PARTITIONS, second)
    assert first.owned
    # until it has a share again: to end a group while it shares out leaves rows to the next start
    ground.work_until(lambda: ground.is_done((first, second)) and bool(first.owned), first, second)
    for worker in (first, second):
        worker.finish()
    check(ground, as_planned(ground, story))
    ground.close()
