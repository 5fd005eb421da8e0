"""The parts of one worker in a shared world: its view of log, journal, group, store, and a disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec
import numpy as np

from claimtrace.adapters.embedded_log.merge import merge_order
from claimtrace.decisions import DECISIONS_TOPIC, chain_of
from claimtrace.errors import StoreUnavailable, Superseded
from claimtrace.events import Record
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.state_arrays import Arrays
from stream.group.group import Checkpoint, Tail
from stream.journal.plan import Plan, Range, TopicPartition, in_plan_order
from stream.journal.source import ByPosition
from tests.simulation.shared_world import Network, SharedWorld

_KEPT_SNAPSHOTS = 2


class _Placed(msgspec.Struct):
    position: int


_placed = msgspec.json.Decoder(_Placed)


class SharedSource(ByPosition):
    """Reads the inputs; how far the records have arrived differs from worker to worker."""

    def __init__(self, world: SharedWorld) -> None:
        self._world = world
        self._topics: tuple[str, ...] = DOMAIN.topics

    def poll(self, positions: dict[TopicPartition, int], most: int) -> list[Record]:
        """Return the next records in order of log time, as far as this worker sees them."""
        return self._world.ask(lambda: self._poll(positions, most))  # type: ignore[no-any-return]

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by these topics."""
        self._topics = tuple(topics)

    def fetch(self, ranges: Sequence[Range]) -> list[Record]:
        """Return exactly the records of a plan."""
        return self._world.ask(lambda: self._fetch(ranges))  # type: ignore[no-any-return]

    def _poll(self, positions: dict[TopicPartition, int], most: int) -> list[Record]:
        heads, keys = [], []
        for topic_partition in sorted(
            self._world.inputs, key=lambda p: (self._topics.index(p[0]), p[1])
        ):
            records = self._world.inputs[topic_partition]
            if self._world.risk and self._world.chance(0.2):
                records = records[: int(self._world.rng.integers(len(records) + 1))]
            head = [r for r in records if r.position >= positions.get(topic_partition, 0)]
            heads.append(head)
            keys.append(np.maximum.accumulate(np.array([r.log_time_ms for r in head], np.int64)))
        if not keys:
            return []
        order = zip(*(each.tolist() for each in merge_order(keys, most)), strict=True)
        return [heads[owner][at] for owner, at in order]

    def _fetch(self, ranges: Sequence[Range]) -> list[Record]:
        found = [
            record
            for span in ranges
            for record in self._world.inputs[span.topic, span.partition]
            if span.from_position <= record.position < span.to_position
        ]
        return in_plan_order(found, self._topics)


class SharedJournal:
    """The journal as one worker sees it, with the plans it sent and hasn't read back."""

    def __init__(self, world: SharedWorld) -> None:
        self._world = world
        self._next_number, self._at = 1, 0
        self._in_flight: Plan | None = None
        self._sent: deque[Plan] = deque()
        self._bookmarks: dict[int, int] = {}

    @property
    def next_number(self) -> int:
        """The number after the last plan read."""
        return self._next_number

    @property
    def is_sending(self) -> bool:
        """Whether a plan is in flight."""
        return bool(self._sent)

    def bookmark(self, number: int) -> int:
        """Return the journal's position behind a plan."""
        return self._bookmarks.get(number, 0)

    def append(self, plan: Plan) -> Plan:
        """Send a plan, and read on until a plan with its number comes."""
        assert plan.number == self._next_number, "read what is there before you append"
        self._world.turn()
        if self._in_flight != plan:
            self._sent.append(plan)
            self._in_flight = plan
        for _ in range(4):  # slow enough for others to write the same number
            self._world.turn()
        self._world.trouble()
        self.land()
        self._world.turn()
        return next(self._pull())

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:
        """Yield the plans from a number on, as far as the journal has them now."""
        self._world.turn()
        if from_number != self._next_number or bookmark:
            self._next_number, self._at = from_number, bookmark
            self._bookmarks[from_number - 1] = bookmark
        for plan in self._pull():
            self._world.trouble()
            yield plan
            self._world.turn()

    def land(self) -> None:
        """Deliver what was sent."""
        self._world.journal += self._sent
        self._sent.clear()

    def _pull(self) -> Iterator[Plan]:
        while self._at < len(self._world.journal):
            plan = self._world.journal[self._at]
            self._at += 1
            if plan.number < self._next_number:
                continue
            assert plan.number == self._next_number, "a plan is missing"
            self._next_number += 1
            self._in_flight = None
            self._bookmarks[plan.number] = self._at
            yield plan


class Member:
    """The group as one worker sees it: its assignment, its next one, and the one it believes in."""

    def __init__(self, world: SharedWorld, network: Network) -> None:
        self._world, self._network = world, network
        self.held: set[TopicPartition] = set()
        self.target: set[TopicPartition] = set()
        self._assigned: set[TopicPartition] = set()
        self._topic_partitions: set[TopicPartition] = set()

    @property
    def is_member(self) -> bool:
        """Whether the group still counts this worker as a member."""
        return self in self._world.members

    def topic_partitions(self) -> Set[TopicPartition]:
        """Return all topic-partitions; listed now and then only."""
        if not self._topic_partitions or self._world.chance(0.3):
            self._topic_partitions = self._world.ask(self._world.topic_partitions)
        return self._topic_partitions

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:
        """Take one step of the protocol."""
        self._world.turn()
        if not self.is_member:
            if not self._assigned:
                self._world.members.append(self)
                self._world.share_out()
            self._assigned.clear()
        elif going := self.held - self.target:
            drain(going)
            self._assigned -= going
            self.held -= going
        else:
            others = set().union(*(m.held for m in self._world.members if m is not self))
            self.held |= self.target - others
            self._assigned |= self.held
        return self._assigned

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """Return the committed checkpoints; waits for open transactions."""
        return self._world.ask(lambda: self._checkpoints(topic_partitions))  # type: ignore[no-any-return]

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        """Commit as a member of the group, which doesn't check who owns a partition."""
        return self._world.ask(lambda: self._commit(checkpoints))  # type: ignore[no-any-return]

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:
        """Return the ends of the visible decisions."""
        return self._world.ask(lambda: self._tails(partitions))  # type: ignore[no-any-return]

    def leave(self) -> None:
        """Leave at once."""
        self._world.expel(self)

    def _checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        if any(
            not each.checkpoints.keys().isdisjoint(topic_partitions) for each in self._world.pending
        ):
            raise StoreUnavailable("a transaction is not over", where="the simulated group")
        return {
            topic_partition: self._world.checkpoints[topic_partition]
            for topic_partition in topic_partitions
            if topic_partition in self._world.checkpoints
        }

    def _commit(self, checkpoints: Mapping[TopicPartition, Checkpoint]) -> bool:
        is_moving = any(member.held != member.target for member in self._world.members)
        if self._world.is_transactional:
            self._network.commit(checkpoints, lambda: self.is_member)
        elif not self.is_member:
            raise Superseded("a member no more", where="the simulated group")
        elif is_moving and self._world.risk and self._world.chance(0.3):
            return False
        else:
            self._world.checkpoints.update(checkpoints)
        return True

    def _tails(self, partitions: Collection[int]) -> dict[int, Tail]:
        tails = {}
        for partition in partitions:
            bodies = [
                r.value or b"" for r in self._world.outputs.get((DECISIONS_TOPIC, partition), [])
            ]
            if bodies:
                last = max(bodies, key=lambda body: _placed.decode(body).position)
                tails[partition] = Tail(_placed.decode(last).position, chain_of(last))
        return tails


class SharedRows:
    """The offline store over the network."""

    def __init__(self, world: SharedWorld) -> None:
        self._world = world

    def append_once(self, table: str, rows: Any, *, versions: Any, before: Any) -> bool:
        """Append by Delta's rule: each version of a writer once."""
        store = self._world.rows
        return self._world.ask(  # type: ignore[no-any-return]
            lambda: store.append_once(table, rows, versions=versions, before=before)
        )

    def committed(self, table: str, writer: str) -> int:
        """Return the last version of a writer."""
        return self._world.ask(lambda: self._world.rows.committed(table, writer))  # type: ignore[no-any-return]


class OwnSnapshots:
    """A worker's disk: the newest snapshots, which outlive its process."""

    def __init__(self, world: SharedWorld) -> None:
        self._world = world
        self.kept: list[tuple[int, Arrays]] = []
        self._begun: tuple[int, Arrays] = (0, {})
        self._is_written = False

    def is_ready(self, arrays: Arrays) -> bool:
        """Whether a snapshot can begin: at random."""
        return self._world.chance(0.7)

    def begin(self, plan: int, arrays: Arrays) -> bool:
        """Copy the state as it is now; it is kept if the process lives until `publish`."""
        self._begun = plan, {name: array.copy() for name, array in arrays.items()}
        self._is_written = False
        return False

    def is_written(self, *, wait: bool = False) -> bool:
        """Whether the snapshot is written: at random."""
        self._is_written |= wait or self._world.chance(0.3)
        return self._is_written

    def publish(self) -> None:
        """Keep the newest snapshots."""
        self._world.ask(lambda: self.kept.append(self._begun))
        self.kept = sorted(dict(self.kept).items())[-_KEPT_SNAPSHOTS:]

    def cancel(self) -> None:
        """Do nothing: there is no background work."""

    def newest(self, fits: Callable[[Arrays], bool] = lambda _: True) -> tuple[int, Arrays] | None:
        """Return the newest snapshot that fits."""
        return next((each for each in reversed(self.kept) if fits(each[1])), None)


class SharedClock:
    """One time for all workers; a sleep ends the worker's turn."""

    def __init__(self, world: SharedWorld, pause: Callable[[], None]) -> None:
        self._world, self._pause = world, pause

    def now_ms(self) -> int:
        """Return the simulated time."""
        return self._world.now_ms

    def monotonic_s(self) -> float:
        """Return the simulated time in seconds."""
        return self._world.now_ms / 1000

    def sleep(self, seconds: float) -> None:
        """Let other workers run, and advance the time."""
        self._world.now_ms += round(seconds * 100)
        self._pause()
