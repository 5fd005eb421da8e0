"""Alerts to an SNS topic, so that people learn of them; the topic `claims.alerts` is the record.

An alert is sent once its record is acknowledged, from a thread of its own, so that SNS never delays
a decision. While SNS doesn't answer, alerts wait; those that can't wait any longer are counted as
lost and notified. After a crash an alert may be sent twice, with the same `alert_id`.
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
from claimtrace.backoff import Backoff
from claimtrace.decisions import ALERTS_TOPIC
from claimtrace.errors import ClaimtraceError, ConfigError, StoreUnavailable
from claimtrace.events import Outgoing

from ...worker.observer import WorkerObserver
from ...worker.parts import Output
from .once_until_changed import OnceUntilChanged
from .sns_message import LOST, MAX_CALL_BYTES, MAX_ENTRIES, SENT, SnsMessage, sns_message_of

MAX_WAITING: Final = 1_000
"""The most alerts that wait; further ones are lost to SNS."""
GRACE_S: Final = 3.0
"""How long a worker that ends waits for alerts to be sent."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 20.0
_WHERE: Final = "aws.alerts_topic"
_TRANSIENT: Final = frozenset(
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
    """Sends alerts to an SNS topic, from a thread.

    Args:
        client: a boto3 client for SNS in the region of the topic.
        topic: the ARN of the topic.
        observer: notified once when SNS doesn't answer and once when it answers again; told how
            many alerts were `sent` or `lost`.
        jitter: draws the share of each pause that is kept, so that many workers don't retry at the
            same moment.
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
        self._trouble = OnceUntilChanged(observer.notify)
        self._thread = threading.Thread(target=self._run, name="to SNS", daemon=True)
        self._thread.start()

    def send(self, alerts: Sequence[bytes]) -> None:
        """Queue alerts, in the bytes of their records; returns at once."""
        fifo = self._topic.endswith(".fifo")
        messages = [sns_message_of(alert, fifo=fifo) for alert in alerts]
        fitting = [message for message in messages if message.size <= MAX_CALL_BYTES]
        if len(fitting) < len(messages):
            self._report_lost(len(messages) - len(fitting), "an alert is larger than SNS takes")
        with self._changed:
            taken = fitting[: max(0, MAX_WAITING - len(self._waiting))] if not self._is_over else []
            self._waiting.extend(taken)
            was_full, self._is_full = self._is_full, len(taken) < len(fitting)
            self._changed.notify_all()
        if self._is_full:
            self._observer.notified(LOST, len(fitting) - len(taken))
            if not was_full:
                self._observer.notify(
                    f"{MAX_WAITING:,} alerts wait for SNS: newer ones aren't sent; they are on "
                    f"{ALERTS_TOPIC}"
                )

    def close(self) -> None:
        """Send the alerts that wait, for up to `GRACE_S`, and end; may be called again."""
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
            self._report_lost(left, "the worker ends")

    def _run(self) -> None:
        backoff, pause_s = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), 0.0
        while True:
            with self._changed:
                self._pause(pause_s)
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting or self._is_over:
                    return
                call = self._next_call()
            # the lock isn't held during the call; the messages stay in the queue until it is over,
            # so that `close` counts them when it gives up
            refused, lost, why = self._publish(call)
            with self._changed:
                if self._is_over:
                    return  # `close` has counted them as lost, whatever the call has done
                for _ in call:
                    self._waiting.popleft()
                self._waiting.extendleft(reversed(refused))  # in front, in their order
                is_closing = self._is_closing
            if lost:
                self._observer.notified(LOST, lost)
                self._trouble.report(
                    "lost", f"alerts are not sent to SNS, they are on {ALERTS_TOPIC}: {why}"
                )
            if sent := len(call) - len(refused) - lost:
                self._observer.notified(SENT, sent)
            if refused:
                # a worker that ends has `GRACE_S` only, so its pauses stay short
                longest_s = 2 * _FIRST_PAUSE_S if is_closing else _LONGEST_PAUSE_S
                pause_s = min(backoff.next_s(), longest_s)
            else:
                backoff.reset()
                pause_s = 0.0

    def _pause(self, seconds: float) -> None:
        """Wait before a retry; a call of `close` ends the wait."""
        if seconds:
            was_closing = self._is_closing
            self._changed.wait_for(
                lambda: self._is_over or self._is_closing != was_closing,
                timeout=seconds * self._jitter(),
            )

    def _next_call(self) -> list[SnsMessage]:
        """Return as many of the first messages as fit into one call; they stay in the queue."""
        call: list[SnsMessage] = []
        size = 0
        for each in self._waiting:
            size += each.size
            if len(call) == MAX_ENTRIES or size > MAX_CALL_BYTES:
                break
            call.append(each)
        return call

    def _publish(self, call: Sequence[SnsMessage]) -> tuple[list[SnsMessage], int, str]:
        """Send messages in one call.

        Returns the messages to retry, the number of messages that SNS will never take, and why.
        """
        entries = [{"Id": str(at), **each.entry} for at, each in enumerate(call)]
        try:
            with _errors():
                answer = self._client.publish_batch(
                    TopicArn=self._topic, PublishBatchRequestEntries=entries
                )
        except ClaimtraceError as error:
            if not error.retryable:
                return [], len(call), str(error)
            self._trouble.report("waits", f"alerts wait for SNS: {error}")
            return list(call), 0, ""
        refused, lost, why = [], 0, ""
        for failed in answer.get("Failed") or ():
            reason = f"{failed.get('Code')}, {failed.get('Message', '')}"
            # SNS calls some troubles of its own, such as an unreachable key, a fault of the sender
            if failed.get("SenderFault") and failed.get("Code") not in _TRANSIENT:
                lost, why = lost + 1, reason
            else:
                refused.append(call[int(failed["Id"])])
                self._trouble.report("waits", f"alerts wait for SNS: {reason}")
        if not refused and not lost:
            self._trouble.clear("SNS takes alerts again")
        return refused, lost, why

    def _report_lost(self, count: int, why: str) -> None:
        self._observer.notified(LOST, count)
        self._observer.notify(
            f"alerts not sent to SNS, they are on {ALERTS_TOPIC}: {count:,}; {why}"
        )


class NotifyingOutput:
    """An output that also sends alerts to SNS; it passes everything else on.

    Alerts are held until the output has acknowledged their records, so that nobody is alerted of a
    record that doesn't exist. Aborted records are sent again, by this worker or the next owner, and
    their alerts with them.

    Args:
        output: the output of the transport.
        notifier: sends the alerts.
    """

    def __init__(self, output: Output, notifier: SnsNotifier) -> None:
        self._output, self._notifier = output, notifier
        self._held: list[bytes] = []

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Send the records of a plan, and hold its alerts."""
        self._output.emit(plan, outgoing)
        self._held += [each.value for each in outgoing if each.topic == ALERTS_TOPIC and each.value]

    def flush(self) -> None:
        """Return when everything that was emitted is acknowledged; then queue its alerts."""
        self._output.flush()
        if self._held:
            self._notifier.send(self._held)
            self._held = []

    def abort(self) -> None:
        """Take back what no commit has made visible yet, where the log can do that."""
        self._output.abort()
        self._held = []

    def close(self) -> None:
        """Send the alerts that wait; the output is closed by its transport."""
        self._notifier.close()


@contextmanager
def _errors() -> Iterator[None]:
    """Raise SNS's errors as ours; SNS has codes of its own for some of them."""
    with named_errors("can't send alerts to SNS", _WHERE):
        try:
            yield
        except ClientError as error:
            code, what = code_of(error), f"can't send alerts to SNS: {error}"
            if code in _TRANSIENT:
                raise StoreUnavailable(what, where=_WHERE) from error
            if code in _HINTS:
                raise ConfigError(what, where=_WHERE, hint=_HINTS[code]) from error
            raise
