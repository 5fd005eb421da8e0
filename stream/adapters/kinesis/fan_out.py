"""Shards that push to this worker: the same reads as by polling, out of subscriptions.

A subscription has a thread that takes what comes and holds a few pages; `read` hands them out one
by one. AWS ends a subscription after five minutes, or when the network does: the next one goes on
behind the last page that was handed out. Nothing here is remembered that isn't in the question, so
a worker that goes back to an earlier place just subscribes anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from queue import Empty, Full, Queue
from typing import Any, Final

from botocore.exceptions import ClientError

from claimtrace.adapters.aws.errors import THROTTLED, code_of, named_errors
from claimtrace.adapters.kinesis.enhanced_fan_out import Pushed, TakenOver, pushes
from claimtrace.adapters.kinesis.stream import describe
from claimtrace.clock import Clock
from claimtrace.errors import StoreUnavailable

from ...group.shard_family import Shard, id_of
from .polling import KinesisReads, ReadRequest, ShardPage, shard_page_of

_PAGES: Final = 4
_LOOK_S, _ROOM_S = 0.02, 0.2
_AGAIN_S: Final = 1.0
"""Between two subscriptions to a shard; AWS allows one a second."""
_ACTIVE_S: Final = 120.0
_IN_USE: Final = "ResourceInUseException"

Start = dict[str, str]
Pages = Generator[Pushed, None, None]
Subscribe = Callable[[Any, str, str, Start], Pages]


class FanOutReads:
    """Reads shards that push.

    Args:
        client: of boto3.
        name: of the consumer that this worker is registered as, on each stream.
        subscribe: how a subscription is opened.
    """

    is_shared = False

    def __init__(self, client: Any, name: str, clock: Clock, subscribe: Subscribe = pushes) -> None:
        self._client, self._name, self._clock = client, name, clock
        self._subscribe = subscribe
        self._reads = KinesisReads(client)
        self._consumers: dict[str, str] = {}
        self._live: dict[tuple[str, int], _Subscription] = {}
        self._again_s: dict[tuple[str, int], float] = {}

    def register(self, name: str) -> None:
        """Be a consumer of a stream; waits until it can be used.

        Raises:
            ConfigError: a right is missing, or the stream has its twenty consumers.
            StoreUnavailable: it isn't ready in time.
        """
        arn = describe(self._client, name).arn
        until_s = self._clock.monotonic_s() + _ACTIVE_S
        while True:
            with named_errors(f"can't be the consumer {self._name}", name):
                found = self._consumer(arn)
            if found["ConsumerStatus"] == "ACTIVE":
                self._consumers[name] = str(found["ConsumerARN"])
                return
            if self._clock.monotonic_s() > until_s:
                raise StoreUnavailable(f"the consumer isn't ready after {_ACTIVE_S:.0f} s",
                                       where=f"{name}/{self._name}")  # fmt: skip
            self._clock.sleep(_AGAIN_S)

    def is_registered(self, name: str) -> bool:
        """Whether it can be pushed to."""
        arn = describe(self._client, name).arn
        with named_errors(f"can't look at the consumer {self._name}", name):
            found = self._described({"StreamARN": arn, "ConsumerName": self._name})
        return found is not None and found["ConsumerStatus"] == "ACTIVE"

    def read(self, ask: ReadRequest) -> ShardPage:
        """What was pushed next; `is_throttled` when nothing was, yet.

        Raises:
            ConfigError, StoreUnavailable: as `named_errors` has it.
        """
        topic_partition = ask.stream, ask.shard
        live = self._live.get(topic_partition)
        if live is None or not live.answers(ask):
            if live is not None:
                live.leave()
            if self._clock.monotonic_s() < self._again_s.get(topic_partition, 0.0):
                self._clock.sleep(_LOOK_S)
                return ShardPage(ask.iterator, is_throttled=True)
            self._again_s[topic_partition] = self._clock.monotonic_s() + _AGAIN_S
            live = self._live[topic_partition] = self._open(ask)
        with named_errors("can't be pushed to", f"{ask.stream}/{ask.shard}"):
            try:
                return self._next(live, topic_partition)
            except _Ended:
                return ShardPage(ask.iterator, is_throttled=True)
            except TakenOver as error:
                raise StoreUnavailable(
                    f"another worker subscribes as {self._name}", where=f"{ask.stream}/{ask.shard}",
                    hint="each worker needs a kinesis.fan_out of its own; just after a restart it "
                    "may be the one before, and passes",
                ) from error  # fmt: skip
            except ClientError as error:
                if code_of(error) not in THROTTLED | {_IN_USE}:
                    raise
                return ShardPage(ask.iterator, is_throttled=True)

    def shards(self, name: str) -> list[Shard]:
        """All shards that a stream lists."""
        return self._reads.shards(name)

    def close(self) -> None:
        """Let go of all subscriptions; the consumers stay registered."""
        for live in self._live.values():
            live.leave()
        self._live.clear()

    def _next(self, live: _Subscription, topic_partition: tuple[str, int]) -> ShardPage:
        try:
            return live.next()
        except Exception:
            self._live.pop(topic_partition, None)  # whatever it was: the next read subscribes anew
            raise

    def _consumer(self, stream_arn: str) -> dict[str, Any]:
        named = {"StreamARN": stream_arn, "ConsumerName": self._name}
        return self._described(named) or self._client.register_stream_consumer(**named)["Consumer"]

    def _described(self, named: dict[str, str]) -> dict[str, Any] | None:
        try:
            found = self._client.describe_stream_consumer(**named)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            return None
        return dict(found["ConsumerDescription"])

    def _open(self, ask: ReadRequest) -> _Subscription:
        start = {"Type": "TRIM_HORIZON"}
        if ask.iterator or ask.sequence:
            is_after = ask.iterator or ask.is_after
            start = {
                "Type": "AFTER_SEQUENCE_NUMBER" if is_after else "AT_SEQUENCE_NUMBER",
                "SequenceNumber": ask.iterator or ask.sequence,
            }
        consumer = self._consumers[ask.stream]
        return _Subscription(
            ask, lambda: self._subscribe(self._client, consumer, id_of(ask.shard), start)
        )


class _Ended(Exception):
    """AWS ended the subscription."""


class _Subscription:
    """One subscription: its thread, and the pages that wait.

    It answers the question that it was opened for, and then always the one behind its last page.
    """

    def __init__(self, ask: ReadRequest, opened: Callable[[], Pages]) -> None:
        self._first: ReadRequest | None = ask
        self._iterator: str | None = None
        self._pages: Queue[Pushed | Exception] = Queue(_PAGES)
        self._left = threading.Event()
        threading.Thread(target=self._run, args=(opened,), daemon=True, name="fan-out").start()

    def answers(self, ask: ReadRequest) -> bool:
        """Whether the next page is what is asked for."""
        return ask == self._first if self._first is not None else ask.iterator == self._iterator

    def next(self) -> ShardPage:
        """The next page, or that there is none yet."""
        try:
            page = self._pages.get(timeout=_LOOK_S)
        except Empty:
            return ShardPage(self._iterator, is_throttled=True)
        if isinstance(page, Exception):
            raise page
        is_end = bool(page.ChildShards) or page.ContinuationSequenceNumber is None
        self._first = None
        self._iterator = None if is_end else page.ContinuationSequenceNumber
        return shard_page_of(page)._replace(iterator=self._iterator)

    def leave(self) -> None:
        """Nobody asks any more."""
        self._left.set()

    def _run(self, opened: Callable[[], Pages]) -> None:
        try:
            with closing(opened()) as pages:
                for page in pages:
                    if not self._put(page):
                        return
            self._put(_Ended())
        except Exception as error:
            self._put(error)

    def _put(self, page: Pushed | Exception) -> bool:
        """Wait for room; AWS waits too, as nobody reads on meanwhile."""
        while not self._left.is_set():
            try:
                self._pages.put(page, timeout=_ROOM_S)
            except Full:
                continue
            return True
        return False
