"""Alerts to an SNS topic, so that people hear of them; the record is the topic `claims.alerts`.

A notice goes out when the record is acknowledged, from a thread of its own: nothing that SNS does
or doesn't do holds up a decision. While SNS doesn't answer, notices wait; those that can't wait any
longer are counted and said. One may come twice after a crash, with the same `alert_id`.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import ClientError

from claimtrace.adapters.aws.errors import code_of, named_errors
from claimtrace.decisions import ALERTS_TOPIC
from claimtrace.errors import ClaimtraceError, ConfigError, StoreUnavailable
from claimtrace.events import Outgoing

from ...worker.observer import WorkerObserver
from ...worker.parts import Output
from .sns_message import LOST, MAX_CALL_BYTES, MAX_ENTRIES, SENT, SnsMessage, sns_message_of

ROOM: Final = 1_000
"""Notices that wait; what comes beyond them isn't told."""
GRACE_S: Final = 3.0
"""A worker that ends waits so long for notices to go."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 20.0
_WHERE: Final = "aws.alerts_topic"
_PASSING: Final = frozenset(
    {"Throttled", "ThrottledException", "KMSThrottling", "KMSDisabled", "KMSInvalidState"}
    | {"KMSAccessDenied", "KMSNotFound", "KMSOptInRequired", "InternalError", "InternalFailure"}
    | {"ServiceUnavailable"}
)
_HINTS: Final = {
    "NotFound": "make the topic, or look at the ARN",
    "AuthorizationError": "allow sns:Publish on the topic, and kms:GenerateDataKey* and "
    "kms:Decrypt on its key if it has one",
}


class SnsNotifier:
    """Tells a topic of alerts, from a thread.

    Args:
        client: of boto3, for SNS in the region of the topic.
        topic: its ARN.
        observer: told once when SNS doesn't answer, once when it answers again, and how many alerts
            were `sent` or `lost`.
        jitter: draws the share of a pause that is kept, so that many don't come back together.
    """

    def __init__(
        self,
        client: Any,
        topic: str,
        observer: WorkerObserver,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client, self._topic = client, topic
        self._observer, self._jitter = observer, jitter
        self._waiting: deque[SnsMessage] = deque()
        self._changed = threading.Condition()
        self._is_closing = self._is_over = self._is_full = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="to SNS", daemon=True)
        self._thread.start()

    def tell(self, alerts: Sequence[bytes]) -> None:
        """Have alerts told, in the bytes of their records; returns at once."""
        fifo = self._topic.endswith(".fifo")
        notices = [sns_message_of(alert, fifo=fifo) for alert in alerts]
        fitting = [notice for notice in notices if notice.size <= MAX_CALL_BYTES]
        if len(fitting) < len(notices):
            self._lose(len(notices) - len(fitting), "an alert is larger than SNS takes")
        with self._changed:
            taken = fitting[: max(0, ROOM - len(self._waiting))] if not self._is_over else []
            self._waiting.extend(taken)
            was_full, self._is_full = self._is_full, len(taken) < len(fitting)
            self._changed.notify_all()
        if self._is_full:
            self._observer.notified(LOST, len(fitting) - len(taken))
            if not was_full:
                self._observer.notify(
                    f"{ROOM:,} alerts wait for SNS: newer ones aren't told; they stand on "
                    f"{ALERTS_TOPIC}"
                )

    def close(self) -> None:
        """Tell what waits, for some seconds, and end; harmless when called again."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(GRACE_S)
        with self._changed:
            self._is_over = True
            left = len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        if left:
            self._lose(left, "the worker ends")

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            with self._changed:
                self._pause(pause_s)
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting or self._is_over:
                    return
                call = self._next_call()
            refused, lost, why = self._publish(call)
            with self._changed:
                if self._is_over:
                    return  # they are counted as lost, whatever came of them
                for _ in call:
                    self._waiting.popleft()
                self._waiting.extendleft(reversed(refused))
                longest_s = 2 * _FIRST_PAUSE_S if self._is_closing else _LONGEST_PAUSE_S
            if lost:
                self._observer.notified(LOST, lost)
                self._note(
                    "lost", f"alerts are not told to SNS, they stand on {ALERTS_TOPIC}: {why}"
                )
            if sent := len(call) - len(refused) - lost:
                self._observer.notified(SENT, sent)
            pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), longest_s) if refused else 0.0

    def _pause(self, seconds: float) -> None:
        if seconds:  # the beginning of the end cuts it short
            was = self._is_closing
            self._changed.wait_for(
                lambda: self._is_over or self._is_closing != was, timeout=seconds * self._jitter()
            )

    def _next_call(self) -> list[SnsMessage]:
        call: list[SnsMessage] = []
        size = 0
        for each in self._waiting:
            size += each.size
            if len(call) == MAX_ENTRIES or size > MAX_CALL_BYTES:
                break
            call.append(each)
        return call

    def _publish(self, call: Sequence[SnsMessage]) -> tuple[list[SnsMessage], int, str]:
        """Those to be sent again, how many can't ever be, and why."""
        entries = [{"Id": str(at), **each.entry} for at, each in enumerate(call)]
        try:
            with _errors():
                answer = self._client.publish_batch(
                    TopicArn=self._topic, PublishBatchRequestEntries=entries
                )
        except ClaimtraceError as error:
            if not error.retryable:
                return [], len(call), str(error)
            self._note("waits", f"alerts wait for SNS: {error}")
            return list(call), 0, ""
        again, lost, why = [], 0, ""
        for failed in answer.get("Failed") or ():
            said = f"{failed.get('Code')}, {failed.get('Message', '')}"
            if failed.get("SenderFault") and failed.get("Code") not in _PASSING:
                lost, why = lost + 1, said
            else:
                again.append(call[int(failed["Id"])])
                self._note("waits", f"alerts wait for SNS: {said}")
        if not again and not lost and self._trouble:
            self._trouble = ""
            self._observer.notify("SNS takes alerts again")
        return again, lost, why

    def _note(self, trouble: str, words: str) -> None:
        """Say a trouble once, until it is over or another one."""
        if self._trouble != trouble:
            self._trouble = trouble
            self._observer.notify(words)

    def _lose(self, count: int, why: str) -> None:
        self._observer.notified(LOST, count)
        self._observer.notify(
            f"alerts not told to SNS, they stand on {ALERTS_TOPIC}: {count:,}; {why}"
        )


class NotifyingOutput:
    """A sink that has alerts told as well; all else is the sink's own.

    Alerts are held until the sink says that it has them, so nobody hears of a record that isn't
    there. What is given up is sent again, by this worker or the next owner, and told then.
    """

    def __init__(self, sink: Output, notices: SnsNotifier) -> None:
        self._sink, self._notices = sink, notices
        self._held: list[bytes] = []

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Send the records of a plan."""
        self._sink.emit(plan, outgoing)
        self._held += [each.value for each in outgoing if each.topic == ALERTS_TOPIC and each.value]

    def flush(self) -> None:
        """Return when all that was emitted is acknowledged; its alerts are told now."""
        self._sink.flush()
        if self._held:
            self._notices.tell(self._held)
            self._held = []

    def abort(self) -> None:
        """Take back what no commit has made visible yet, if that is possible."""
        self._sink.abort()
        self._held = []

    def close(self) -> None:
        """Tell what waits, for some seconds; the sink belongs to its transport."""
        self._notices.close()


@contextmanager
def _errors() -> Iterator[None]:
    """SNS's errors as ours; it has other codes than Kinesis for the same."""
    with named_errors("can't tell SNS", _WHERE):
        try:
            yield
        except ClientError as error:
            code = code_of(error)
            if code in _PASSING:
                raise StoreUnavailable(f"can't tell SNS: {error}", where=_WHERE) from error
            if code in _HINTS:
                raise ConfigError(
                    f"can't tell SNS: {error}", where=_WHERE, hint=_HINTS[code]
                ) from error
            raise
