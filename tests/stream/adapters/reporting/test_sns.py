"""Alerts reach an SNS topic: each that the log has, in its bytes; and nothing is held up by it."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.decisions import ALERTS_TOPIC, DECISIONS_TOPIC
from claimtrace.encoding.encoder import encode
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import AwsSettings, Settings
from cli.transports.choice import open_transport
from cli.wiring.assembly import _with_alerts_notified, build_driver
from cli.wiring.workspace import Workspace
from monitoring.layers.records import DriftAlert
from stream.adapters.reporting import sns
from stream.adapters.reporting.sns import NotifyingOutput, SnsNotifier
from stream.adapters.reporting.sns_message import MAX_CALL_BYTES, sns_message_of
from stream.worker.observer import WorkerObserver
from stream.worker.parts import LogParts
from tests.servers.ministack import Ministack

_numbers = itertools.count()


class Topic(NamedTuple):
    """A topic, and a queue that hears it."""

    arn: str
    heard: Callable[[int], list[dict[str, Any]]]
    """So many notifications, as SNS puts them in a queue; the last call says that there are no
    more."""


def a_topic(aws: Ministack, *, fifo: bool = False, policy: dict[str, Any] | None = None) -> Topic:
    name = f"alerts{next(_numbers)}" + (".fifo" if fifo else "")
    client, queues = aws.client("sns"), aws.client("sqs")
    arn = client.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})[
        "TopicArn"
    ]
    made = queues.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})
    url = made["QueueUrl"]
    asked = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    more = {"FilterPolicy": json.dumps(policy)} if policy else {}
    client.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=asked["Attributes"]["QueueArn"],
                     Attributes=more)  # fmt: skip

    def heard(count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            wait_s = 10 if len(found) < count else 0
            got = queues.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s
            ).get("Messages", [])
            if not got:
                return found
            for each in got:
                found.append(json.loads(each["Body"]))
                queues.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])

    return Topic(arn, heard)


def an_alert(number: int, **changes: Any) -> bytes:
    plain = {
        "alert_id": f"id-{number}", "model": "auto_claims/3", "layer": "inputs", "state": "raised",
        "since_ms": 1, "at_ms": number, "subjects": ["claim_amount", "unseen categories"],
        "text": "Ä drift that lasts", "effects": [], "hint": "train",
    }  # fmt: skip
    return encode(DriftAlert(**{**plain, **changes}))


def outgoing(alert: bytes, topic: str = ALERTS_TOPIC) -> Outgoing:
    return Outgoing(topic, 0, b"k", alert, 1)


class Told:
    """Notices on a topic, and what they said and counted; all is over when it is closed."""

    def __init__(self, aws: Ministack, arn: str, client: Any = None) -> None:
        self.words: list[str] = []
        self.counts: Counter[str] = Counter()
        self.settled = threading.Condition()
        self.client = client or aws.client("sns")
        self.notices = SnsNotifier(
            self.client, arn, self.words.append, self._count, jitter=lambda: 0.0,
        )  # fmt: skip

    def _count(self, result: str, count: int) -> None:
        with self.settled:
            self.counts[result] += count
            self.settled.notify_all()

    def wait(self, count: int) -> None:
        """Return when it is known what became of so many."""
        with self.settled:
            assert self.settled.wait_for(lambda: self.counts.total() >= count, timeout=60)


@pytest.fixture
def told(ministack: Ministack) -> Iterator[Callable[..., Told]]:
    made: list[Told] = []

    def make(arn: str, client: Any = None) -> Told:
        made.append(Told(ministack, arn, client))
        return made[-1]

    yield make
    for each in made:
        each.notices.close()


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._body


def answer(request: Any, status: int, inner: str) -> AWSResponse:
    body = f'<R xmlns="http://sns.amazonaws.com/doc/2010-03-31/">{inner}</R>'
    return AWSResponse(request.url, status, {"Content-Type": "text/xml"}, _Raw(body.encode()))


def refusal(request: Any, status: int, code: str) -> AWSResponse:
    return answer(request, status, f"<Error><Code>{code}</Code><Message>injected</Message></Error>")


def inject(client: Any, fault: Callable[[Any], Any]) -> None:
    def before_send(request: Any, **_: Any) -> Any:
        return fault(request)

    client.meta.events.register("before-send.sns.PublishBatch", before_send)


def messages_of(request: Any) -> list[str]:
    body = request.body.decode() if isinstance(request.body, bytes) else request.body
    return [v[0] for k, v in parse_qs(body).items() if k.endswith(".Message")]


class Sink:
    def __init__(self) -> None:
        self.done: list[Any] = []
        self.works = True

    def emit(self, plan: int, outgoing: Any) -> None:
        if not self.works:
            raise StoreUnavailable("away")
        self.done.append((plan, list(outgoing)))

    def flush(self) -> None:
        if not self.works:
            raise StoreUnavailable("away")
        self.done.append("settled")

    def abort(self) -> None:
        self.done.append("gave up")


def test_each_alert_is_told_in_its_bytes_and_nothing_else(
    ministack: Ministack, told: Callable[..., Told]
) -> None:
    topic = a_topic(ministack)
    teller, sink = told(topic.arn), Sink()
    output = NotifyingOutput(sink, teller.notices)
    alerts = [an_alert(n) for n in range(23)]
    rows = [outgoing(b'{"claim":1}', DECISIONS_TOPIC), *(outgoing(each) for each in alerts)]
    output.emit(7, rows)
    output.flush()
    output.close()
    assert sink.done == [(7, rows), "settled"]
    heard = topic.heard(23)
    assert sorted(each["Message"].encode() for each in heard) == sorted(alerts)
    assert {each["Subject"] for each in heard} == {"Drift raised: inputs of auto_claims/3"}
    assert heard[0]["MessageAttributes"] == {
        "model": {"Type": "String", "Value": "auto_claims/3"},
        "layer": {"Type": "String", "Value": "inputs"},
        "state": {"Type": "String", "Value": "raised"},
        "subjects": {"Type": "String.Array", "Value": '["claim_amount","unseen categories"]'},
    }
    assert (teller.counts, teller.words) == ({"sent": 23}, [])


def test_who_subscribes_can_choose(ministack: Ministack, told: Callable[..., Told]) -> None:
    topic = a_topic(ministack, policy={"state": ["cleared"]})
    teller = told(topic.arn)
    teller.notices.tell([an_alert(1), an_alert(2, state="cleared"), an_alert(3)])
    teller.notices.close()
    assert teller.counts == {"sent": 3}
    assert [each["Message"].encode() for each in topic.heard(1)] == [an_alert(2, state="cleared")]


def test_nobody_hears_of_what_the_log_does_not_have(
    ministack: Ministack, told: Callable[..., Told]
) -> None:
    topic = a_topic(ministack)
    teller, sink = told(topic.arn), Sink()
    output = NotifyingOutput(sink, teller.notices)
    output.emit(1, [outgoing(an_alert(1))])
    output.abort()
    output.flush()
    output.emit(2, [outgoing(an_alert(2))])
    sink.works = False
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            output.flush()
        with pytest.raises(StoreUnavailable):
            output.emit(3, [outgoing(an_alert(3))])
    sink.works = True
    output.emit(3, [outgoing(an_alert(3))])
    output.flush()
    output.flush()
    output.close()
    assert [each["Message"].encode() for each in topic.heard(2)] == [an_alert(2), an_alert(3)]
    assert teller.counts == {"sent": 2}


@pytest.mark.parametrize(
    ("status", "code"), [(400, "Throttled"), (400, "Throttling"), (429, "ThrottledException"),
                         (503, "ServiceUnavailable"), (400, "KMSThrottling")],
)  # fmt: skip
def test_while_sns_is_away_alerts_wait(
    ministack: Ministack, told: Callable[..., Told], status: int, code: str
) -> None:
    topic = a_topic(ministack)
    teller = told(topic.arn)
    left = iter(range(3))
    inject(teller.client, lambda request: refusal(request, status, code)
           if next(left, None) is not None else None)  # fmt: skip
    teller.notices.tell([an_alert(1)])
    teller.wait(1)
    teller.notices.close()
    assert [each["Message"].encode() for each in topic.heard(1)] == [an_alert(1)]
    assert teller.counts == {"sent": 1}
    first, second = teller.words
    assert code in first
    assert second == "SNS takes alerts again"


def test_a_queue_that_is_full_loses_the_newest_and_holds_nobody_up(
    ministack: Ministack, told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sns, "ROOM", 25)
    topic = a_topic(ministack)
    teller, answers = told(topic.arn), threading.Event()
    inject(teller.client, lambda _: answers.wait(60) and None)
    for n in range(30):
        teller.notices.tell([an_alert(n)])
    assert teller.counts == {"lost": 5}
    answers.set()
    teller.wait(30)
    assert teller.counts == {"lost": 5, "sent": 25}
    assert len(teller.words) == 1, teller.words
    found = {each["Message"].encode() for each in topic.heard(25)}
    assert found == {an_alert(n) for n in range(25)}


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [(403, "AuthorizationError", "sns:Publish"), (404, "NotFound", "ARN"),
     (403, "InvalidClientTokenId", "credentials")],
)  # fmt: skip
def test_what_a_person_must_mend_is_said_once_and_the_worker_goes_on(
    ministack: Ministack, told: Callable[..., Told], status: int, code: str, hint: str
) -> None:
    topic = a_topic(ministack)
    teller, is_wrong = told(topic.arn), True
    inject(teller.client, lambda request: refusal(request, status, code) if is_wrong else None)
    for n in range(3):
        teller.notices.tell([an_alert(n)])
        teller.wait(n + 1)
    assert len(teller.words) == 1
    assert hint in teller.words[0]
    is_wrong = False
    teller.notices.tell([an_alert(3)])
    teller.wait(4)
    assert teller.counts == {"lost": 3, "sent": 1}
    assert [each["Message"].encode() for each in topic.heard(1)] == [an_alert(3)]


def test_a_topic_that_is_not_there_is_named(
    ministack: Ministack, told: Callable[..., Told]
) -> None:
    teller = told("arn:aws:sns:eu-central-1:000000000000:nowhere")
    teller.notices.tell([an_alert(1)])
    teller.wait(1)
    assert teller.counts == {"lost": 1}
    assert "make the topic" in teller.words[0]


def test_of_a_call_only_what_was_refused_goes_again(
    ministack: Ministack, told: Callable[..., Told]
) -> None:
    topic = a_topic(ministack)
    teller = told(topic.arn)
    calls: list[list[str]] = []

    def fault(request: Any) -> Any:
        calls.append(messages_of(request))
        if len(calls) > 1:
            return None
        failed = "".join(
            f"<member><Id>{n}</Id><Code>{code}</Code><SenderFault>{fault}</SenderFault></member>"
            for n, code, fault in ((1, "InternalError", "false"), (2, "InvalidParameter", "true"))
        )
        rest = "".join(f"<member><Id>{n}</Id></member>" for n in (0, 3))
        return answer(request, 200, f"<PublishBatchResult><Successful>{rest}</Successful>"
                                    f"<Failed>{failed}</Failed></PublishBatchResult>")  # fmt: skip

    inject(teller.client, fault)
    teller.notices.tell([an_alert(n) for n in range(4)])
    teller.wait(4)
    assert [len(call) for call in calls] == [4, 1]
    assert calls[1] == [an_alert(1).decode()]
    assert teller.counts == {"sent": 3, "lost": 1}


def test_a_fifo_topic_keeps_the_order_and_tells_a_repetition_once(
    ministack: Ministack, told: Callable[..., Told]
) -> None:
    topic = a_topic(ministack, fifo=True)
    teller = told(topic.arn)
    for n in (0, 1, 2, 1, 3, 0):
        teller.notices.tell([an_alert(n)])
    teller.notices.close()
    assert teller.counts == {"sent": 6}
    heard = [each["Message"].encode() for each in topic.heard(4)]
    assert heard == [an_alert(n) for n in range(4)]


def test_calls_are_as_large_as_sns_takes(ministack: Ministack, told: Callable[..., Told]) -> None:
    topic = a_topic(ministack)
    teller = told(topic.arn)
    sizes: list[int] = []
    inject(teller.client, lambda request: sizes.append(sum(map(len, messages_of(request)))))
    large = [an_alert(n, hint="x" * 60_000) for n in range(9)]
    teller.notices.tell([*large, an_alert(10, hint="x" * MAX_CALL_BYTES)])
    teller.notices.close()
    assert teller.counts == {"sent": 9, "lost": 1}
    assert "larger than SNS takes" in teller.words[0]
    assert max(sizes) <= MAX_CALL_BYTES
    assert len(topic.heard(9)) == 9


def test_the_end_waits_for_nobody(
    ministack: Ministack, told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sns, "GRACE_S", 0.05)
    teller, answers = told(a_topic(ministack).arn), threading.Event()
    inject(teller.client, lambda _: answers.wait(60) and None)
    teller.notices.tell([an_alert(1), an_alert(2)])
    teller.notices.close()
    assert teller.counts == {"lost": 2}
    assert "the worker ends" in teller.words[0]
    answers.set()
    teller.notices.close()
    assert teller.counts == {"lost": 2}


TEXT = st.text(st.characters(codec="utf-8"), max_size=150)


@given(TEXT, TEXT, TEXT, TEXT, st.lists(TEXT, max_size=3), st.booleans())
def test_a_notice_is_within_what_sns_takes(
    alert_id: str, model: str, layer: str, state: str, subjects: list[str], fifo: bool
) -> None:
    alert = an_alert(1, alert_id=alert_id, model=model, layer=layer, state=state, subjects=subjects)
    entry, size = sns_message_of(alert, fifo=fifo)
    assert entry["Message"].encode() == alert
    assert 0 < len(entry["Subject"]) <= 100
    assert entry["Subject"].isascii()
    assert entry["Subject"].isprintable()
    texts = [each["StringValue"] for each in entry.get("MessageAttributes", {}).values()]
    assert all(texts)
    assert size >= len(alert) + len(entry["Subject"]) + sum(len(each.encode()) for each in texts)
    assert ("MessageGroupId" in entry) == ("MessageDeduplicationId" in entry) == fifo
    for name in ("MessageGroupId", "MessageDeduplicationId") if fifo else ():
        assert 1 <= len(entry[name]) <= 128
        assert all("!" <= c <= "~" for c in entry[name])


def test_a_long_subject_is_cut() -> None:
    entry, _ = sns_message_of(an_alert(1, model="m" * 200), fifo=False)
    assert entry["Subject"] == "Drift raised: inputs of " + "m" * 76


@pytest.mark.parametrize("alert", [b"[1]", b'{"subjects":7}', b'{"state":null}', b"no JSON"])
def test_an_alert_of_another_form_is_told_as_it_is(alert: bytes) -> None:
    entry, _ = sns_message_of(alert, fifo=True)
    assert (entry["Message"], entry["Subject"]) == (alert.decode(), "claimtrace alert")
    assert len(entry["MessageDeduplicationId"]) == 64


def test_every_driver_has_it_and_the_run_closes_it(
    ministack: Ministack, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = a_topic(ministack)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", ministack.endpoint)
    for name, value in (("ACCESS_KEY_ID", "local"), ("SECRET_ACCESS_KEY", "local")):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):  # the topic's ARN says it
        monkeypatch.delenv(name, raising=False)

    counts: Counter[str] = Counter()

    class Counting(WorkerObserver):
        def notified(self, result: str, count: int) -> None:
            counts[result] += count

    settings = Settings(folder=str(tmp_path), aws=AwsSettings(alerts_topic=topic.arn))
    workspace, observer = Workspace(settings), Counting()
    with open_transport(workspace, create=True) as transport, transport.lock():
        with ExitStack() as opened:
            log = transport.open_log(observer)
            driver = build_driver(workspace, log, observer, lambda: False, opened)
            output = driver._ownership._output
            assert isinstance(output, NotifyingOutput)
            output.emit(1, [outgoing(an_alert(1))])
            output.flush()
            opened.close()
        output.close()
    assert counts == {"sent": 1}
    assert [each["Message"].encode() for each in topic.heard(1)] == [an_alert(1)]


def test_without_a_topic_the_sink_is_left_alone(tmp_path: Any) -> None:
    workspace = Workspace(Settings(folder=str(tmp_path), source="kafka://a:1"))
    parts = LogParts(None, None, Sink())  # type: ignore[arg-type]
    with ExitStack() as opened:
        assert _with_alerts_notified(workspace, parts, WorkerObserver(), opened) is parts
