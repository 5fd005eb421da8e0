"""Reads of shards by enhanced fan-out: the same pages as by polling, out of subscriptions.

A subscription has a thread that receives pages and buffers a few of them; `read` returns them one
by one. A subscription ends after five minutes, by AWS, or with its connection: the next one starts
behind the last page that was returned. Where to read is always taken from the request, so a worker
that returns to an earlier position just subscribes anew.
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
"""Pages that a subscription buffers."""
_READ_WAIT_S, _FULL_WAIT_S = 0.02, 0.2
"""How long a read waits for a page, and the thread for room before it looks for a cancel."""
_SUBSCRIBE_EVERY_S: Final = 1.0
"""The time between two subscriptions to a shard; AWS allows one a second."""
_ACTIVE_S: Final = 120.0
"""How long a new consumer may take until it is active."""
_IN_USE: Final = "ResourceInUseException"

Start = dict[str, str]
Pages = Generator[Pushed, None, None]
Subscribe = Callable[[Any, str, str, Start], Pages]


class FanOutReads:
    """Reads shards through subscriptions.

    Args:
        client: a boto3 client for Kinesis.
        name: the name that this worker is registered under as a consumer of each stream.
        clock: for deadlines and pauses.
        subscribe: opens a subscription to a shard.
    """

    is_shared = False

    def __init__(self, client: Any, name: str, clock: Clock, subscribe: Subscribe = pushes) -> None:
        self._client, self._name, self._clock = client, name, clock
        self._subscribe = subscribe
        self._reads = KinesisReads(client)
        self._consumers: dict[str, str] = {}
        self._subscriptions: dict[tuple[str, int], _Subscription] = {}
        self._not_before_s: dict[tuple[str, int], float] = {}

    def register(self, name: str) -> None:
        """Register this worker as a consumer of a stream; waits until the consumer is active.

        Raises:
            ConfigError: a right is missing, or the stream has its twenty consumers.
            StoreUnavailable: the consumer doesn't become active in time.
        """
        arn = describe(self._client, name).arn
        until_s = self._clock.monotonic_s() + _ACTIVE_S
        while True:
            with named_errors(f"can't register the consumer {self._name}", name):
                found = self._consumer(arn)
            if found["ConsumerStatus"] == "ACTIVE":
                self._consumers[name] = str(found["ConsumerARN"])
                return
            if self._clock.monotonic_s() > until_s:
                raise StoreUnavailable(f"the consumer isn't ready after {_ACTIVE_S:.0f} s",
                                       where=f"{name}/{self._name}")  # fmt: skip
            self._clock.sleep(_SUBSCRIBE_EVERY_S)

    def is_registered(self, name: str) -> bool:
        """Whether the consumer is registered on a stream, and active."""
        arn = describe(self._client, name).arn
        with named_errors(f"can't describe the consumer {self._name}", name):
            found = self._described({"StreamARN": arn, "ConsumerName": self._name})
        return found is not None and found["ConsumerStatus"] == "ACTIVE"

    def read(self, request: ReadRequest) -> ShardPage:
        """Return the next page that was pushed; `is_throttled` when none has arrived yet.

        Raises:
            ConfigError, StoreUnavailable: those of `named_errors`.
        """
        shard = request.stream, request.shard
        where = f"{request.stream}/{request.shard}"
        subscription = self._subscriptions.get(shard)
        if subscription is None or not subscription.answers(request):
            if subscription is not None:
                subscription.cancel()
            if self._clock.monotonic_s() < self._not_before_s.get(shard, 0.0):
                self._clock.sleep(_READ_WAIT_S)
                return ShardPage(request.iterator, is_throttled=True)
            self._not_before_s[shard] = self._clock.monotonic_s() + _SUBSCRIBE_EVERY_S
            subscription = self._subscriptions[shard] = self._open(request)
        with named_errors("can't read the subscription", where):
            try:
                return self._next(subscription, shard)
            except _Ended:
                return ShardPage(request.iterator, is_throttled=True)
            except TakenOver as error:
                raise StoreUnavailable(
                    f"another worker subscribes as {self._name}", where=where,
                    hint="each worker needs a kinesis.fan_out of its own; just after a restart it "
                    "may be this worker's previous process, and ends by itself",
                ) from error  # fmt: skip
            except ClientError as error:
                # in use: AWS refuses a second subscription within five seconds of the first
                if code_of(error) not in THROTTLED | {_IN_USE}:
                    raise
                return ShardPage(request.iterator, is_throttled=True)

    def shards(self, name: str) -> list[Shard]:
        """Return all shards that a stream lists."""
        return self._reads.shards(name)

    def close(self) -> None:
        """Cancel all subscriptions; the consumers stay registered."""
        for subscription in self._subscriptions.values():
            subscription.cancel()
        self._subscriptions.clear()

    def _next(self, subscription: _Subscription, shard: tuple[str, int]) -> ShardPage:
        try:
            return subscription.next()
        except Exception:
            self._subscriptions.pop(shard, None)  # after any error the next read subscribes anew
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

    def _open(self, request: ReadRequest) -> _Subscription:
        start = {"Type": "TRIM_HORIZON"}
        # the iterator of a subscription is a sequence number: the one AWS gave to continue from
        if request.iterator or request.sequence:
            is_after = request.iterator or request.is_after
            start = {
                "Type": "AFTER_SEQUENCE_NUMBER" if is_after else "AT_SEQUENCE_NUMBER",
                "SequenceNumber": request.iterator or request.sequence,
            }
        consumer = self._consumers[request.stream]
        return _Subscription(
            request, lambda: self._subscribe(self._client, consumer, id_of(request.shard), start)
        )


class _Ended(Exception):
    """AWS ended the subscription."""


class _Subscription:
    """One subscription: its thread, and a buffer of pages.

    It answers the request that it was opened for, and then the requests behind its last page.
    """

    def __init__(self, request: ReadRequest, opened: Callable[[], Pages]) -> None:
        self._first: ReadRequest | None = request
        self._iterator: str | None = None
        self._pages: Queue[Pushed | Exception] = Queue(_PAGES)
        self._is_cancelled = threading.Event()
        threading.Thread(target=self._run, args=(opened,), daemon=True, name="fan-out").start()

    def answers(self, request: ReadRequest) -> bool:
        """Whether the next page is the one that the request asks for."""
        if self._first is not None:
            return request == self._first
        return request.iterator == self._iterator

    def next(self) -> ShardPage:
        """Return the next page; a throttled one when none has arrived within a short wait."""
        try:
            page = self._pages.get(timeout=_READ_WAIT_S)
        except Empty:
            return ShardPage(self._iterator, is_throttled=True)
        if isinstance(page, Exception):
            raise page
        is_end = bool(page.ChildShards) or page.ContinuationSequenceNumber is None
        self._first = None
        self._iterator = None if is_end else page.ContinuationSequenceNumber
        return shard_page_of(page)._replace(iterator=self._iterator)

    def cancel(self) -> None:
        """End the thread: no further page is read."""
        self._is_cancelled.set()

    def _run(self, opened: Callable[[], Pages]) -> None:
        """Buffer pages until the subscription ends; its end or error comes after the last page."""
        try:
            with closing(opened()) as pages:
                for page in pages:
                    if not self._put(page):
                        return
            self._put(_Ended())
        except Exception as error:
            self._put(error)

    def _put(self, page: Pushed | Exception) -> bool:
        """Buffer a page, after a wait for room; returns False when cancelled.

        Meanwhile the connection isn't read, so that AWS stops sending.
        """
        while not self._is_cancelled.is_set():
            try:
                self._pages.put(page, timeout=_FULL_WAIT_S)
            except Full:
                continue
            return True
        return False
