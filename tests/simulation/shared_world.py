"""The world that several workers share, in memory: log, journal, group, offline store, network.

Each call of a worker may fail before or after its effect, and other workers may run inside it. The
doubles promise what the real ones promise, and no more:

- a plan that was sent may land in the journal late, or never when its sender dies;
- a record that was sent lands in order on its partition, but late: behind those of a new owner;
- a group knows members, not owners: a commit is refused only when its sender is no longer a member;
- a transaction's records and offsets become visible together, a while after the commit.

"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from claimtrace.errors import StoreUnavailable, Superseded
from claimtrace.events import Outgoing, Record
from claimtrace_examples.auto_claims import DOMAIN
from stream.group.group import Checkpoint
from stream.journal.plan import JOURNAL, Plan, TopicPartition
from tests.simulation.lives import RowsInMemory

if TYPE_CHECKING:
    from tests.simulation.shared_parts import Member


@dataclass
class SharedWorld:
    """Everything that outlives a worker; `turn` lets other workers run, `trouble` may raise."""

    rng: np.random.Generator
    partitions: int
    turn: Callable[[], None]
    risk: float = 0.0
    has_gaps: bool = False
    is_transactional: bool = False
    now_ms: int = 1_800_000_000_000
    inputs: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    outputs: dict[TopicPartition, list[Outgoing]] = field(default_factory=dict)
    journal: list[Plan] = field(default_factory=list)
    rows: RowsInMemory = field(default_factory=RowsInMemory)
    checkpoints: dict[TopicPartition, Checkpoint] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    afloat: list[Network] = field(default_factory=list)
    pending: list[Transaction] = field(default_factory=list)

    def chance(self, p: float) -> bool:
        """Return True with probability `p`."""
        return bool(self.rng.random() < p)

    def trouble(self) -> None:
        """Fail at random, as a broker that doesn't answer."""
        if self.risk and self.chance(self.risk):
            raise StoreUnavailable("no answer", where="the simulated world")

    def ask(self, effect: Callable[[], Any], *, after: bool = True) -> Any:
        """Call over the network: others run before and after the effect, and the call may fail."""
        self.turn()
        self.trouble()
        done = effect()
        self.turn()
        if after:
            self.trouble()
        return done

    def topic_partitions(self) -> set[TopicPartition]:
        """Return all topic-partitions that exist now."""
        return {(topic, p) for topic in DOMAIN.topics for p in range(self.partitions)} | {JOURNAL}

    def put(self, outgoing: Outgoing) -> None:
        """Append an input; transaction markers may leave gaps between positions."""
        topic_partition = outgoing.topic, outgoing.partition
        records = self.inputs.setdefault(topic_partition, [])
        at = records[-1].position + 1 if records else 0
        if self.has_gaps and self.chance(0.3):
            at += int(self.rng.integers(1, 4))
        records.append(
            Record(*topic_partition, at, outgoing.key, outgoing.value, outgoing.log_time_ms)
        )

    def expel(self, member: Member) -> None:
        """Remove a silent member: its partitions are free, and it doesn't know yet."""
        if member in self.members:
            self.members.remove(member)
            member.held, member.target = set(), set()
            self.share_out()

    def share_out(self) -> None:
        """Assign the topic-partitions anew; most of them stay with their owner."""
        wanted: dict[int, set[TopicPartition]] = {id(member): set() for member in self.members}
        for topic_partition in sorted(self.topic_partitions()):
            holder = next((m for m in self.members if topic_partition in m.held | m.target), None)
            if holder is None or self.chance(0.3):
                holder = self.members[int(self.rng.integers(len(self.members)))] if wanted else None
            if holder is not None:
                wanted[id(holder)].add(topic_partition)
        for member in self.members:
            member.target = wanted[id(member)]

    def settle_transactions(self, sender: Network) -> None:
        """Commit or abort the transactions that a dead worker left open, at random."""
        for transaction in [each for each in self.pending if each.sender is sender]:
            self.pending.remove(transaction)
            if self.chance(0.5):
                transaction.come_into_sight(self)

    def plans(self) -> list[Plan]:
        """Return the plans that won: the first with each number."""
        won: list[Plan] = []
        for plan in self.journal:
            if plan.number == len(won) + 1:
                won.append(plan)
        return won

    def is_quiet(self) -> bool:
        """Whether everything is planned, sent, stored and committed."""
        plans = self.plans()
        planned = {(s.topic, s.partition): s.to_position for plan in plans for s in plan.ranges}
        last = len(plans)
        return all(
            not records or planned.get(topic_partition, 0) > records[-1].position
            for topic_partition, records in self.inputs.items()
        ) and all(
            (checkpoint := self.checkpoints.get(topic_partition)) is not None
            and checkpoint.emitted == checkpoint.stored == last
            for topic_partition in self.topic_partitions()
        )


@dataclass
class Transaction:
    """Records and checkpoints that become visible together."""

    sender: Network
    records: list[Outgoing]
    checkpoints: Mapping[TopicPartition, Checkpoint]

    def come_into_sight(self, world: SharedWorld) -> None:
        """Make everything visible: the end of the commit."""
        for each in self.records:
            world.outputs.setdefault((each.topic, each.partition), []).append(each)
        world.checkpoints.update(self.checkpoints)


class Network:
    """A worker's output: the records it sent, some still in flight, in order on each partition."""

    def __init__(self, world: SharedWorld) -> None:
        self._world = world
        self._under_way: dict[TopicPartition, deque[Outgoing]] = {}
        self._open: list[Outgoing] = []
        world.afloat.append(self)

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Accept records, all or none."""
        self._world.turn()
        self._world.trouble()
        for each in outgoing:
            if self._world.is_transactional:
                self._open.append(each)
            else:
                topic_partition = each.topic, each.partition
                self._under_way.setdefault(topic_partition, deque()).append(each)
        self._world.turn()

    def flush(self) -> None:
        """Deliver all records."""
        self._world.ask(lambda: self.land(1.0))

    def abort(self) -> None:
        """Abort the open transaction."""
        if self._open:
            self._world.turn()
            self._world.trouble()
            self._open = []

    def land(self, share: float) -> None:
        """Deliver some of the records in flight."""
        for topic_partition, records in sorted(self._under_way.items()):
            for _ in range(len(records) if share == 1.0 else int(len(records) * share)):
                self._world.outputs.setdefault(topic_partition, []).append(records.popleft())

    def lose(self) -> None:
        """Drop records in flight, as their sender has died."""
        self._open = []
        for records in self._under_way.values():
            for _ in range(int(self._world.rng.integers(len(records) + 1))):
                records.pop()

    def commit(
        self, checkpoints: Mapping[TopicPartition, Checkpoint], is_member: Callable[[], bool]
    ) -> None:
        """Commit the open records and the checkpoints in one transaction."""
        world = self._world
        if not is_member() or world.chance(world.risk / 2):
            self._open = []
            raise Superseded("aborted", where="the simulated group")
        made = Transaction(self, self._open, dict(checkpoints))
        self._open = []
        world.pending.append(made)
        world.turn()
        world.pending.remove(made)
        made.come_into_sight(world)
