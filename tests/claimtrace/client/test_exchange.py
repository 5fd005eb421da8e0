"""The rules of repeating a request, without a server: every history of answers within the limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace import errors
from claimtrace.client.calls import decide, encoded, part, score
from claimtrace.client.exchange import Patience, error_of, exchange
from claimtrace.client.http import Heard, Lost, Pause, Request, Response, Send, path_of
from tests.worlds.api_stand_in import sealed

BASE = "https://claims.test"
CLAIM = {"claim_id": "C-1", "total_claim_cents": 120_000}


class Play:
    """Runs a call against a list of answers; time goes by as its steps say."""

    def __init__(self, answers: list[Any], took_s: float = 0.1, luck: float = 1.0) -> None:
        self.answers, self.took_s, self.luck = list(answers), took_s, luck
        self.sent: list[Request] = []
        self.pauses: list[Pause] = []
        self.now_s = 100.0

    def run(self, talk: Any) -> Any:
        step = next(talk)
        try:
            while True:
                if isinstance(step, Send):
                    self.sent.append(step.request)
                    assert step.within_s > 0
                    found = self.answers.pop(0) if self.answers else Lost("gone", sent=True)
                    self.now_s += min(self.took_s, step.within_s)
                else:
                    assert 0 <= step.least_s <= step.most_s
                    self.pauses.append(step)
                    self.now_s += step.least_s + self.luck * (step.most_s - step.least_s)
                    found = None
                step = talk.send(Heard(found, self.now_s))
        except StopIteration as ended:
            return ended.value


def later(status: int, after: str = "") -> Response:
    return Response(status, {"retry-after": after} if after else {}, b"{}")


GOOD = Response(200, {}, sealed("C-1"))
ANSWERS = st.one_of(
    st.sampled_from([later(429), later(503, "2"), later(503), Lost("x", sent=True),
                     Lost("x", sent=False), later(502), later(504, "1")])
)  # fmt: skip


@given(st.lists(ANSWERS, max_size=30), st.floats(0.0, 3.0), st.floats(0.0, 1.0))
def test_a_call_ends_within_its_limit_and_repeats_the_same_bytes(answers, took_s, luck):
    play = Play([*answers, GOOD], took_s, luck)
    patience = Patience(answer_s=1.0, total_s=12.0)
    try:
        found = play.run(decide(CLAIM, 0.5, BASE, patience, play.now_s))
    except (errors.ServerUnavailable, errors.TooManyRequests):
        found = GOOD.content
    assert found == GOOD.content
    assert play.now_s <= 100.0 + 12.0 + 1e-6
    assert {each.content for each in play.sent} == {encoded(CLAIM)}


def test_the_answer_after_troubles_is_the_answer():
    play = Play([Lost("refused", sent=False), later(503), later(429, "4"), GOOD])
    assert play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s)) == GOOD.content
    assert len(play.sent) == 4
    assert play.pauses[-1].least_s >= 4.0, "Retry-After is kept"


def test_it_does_not_wait_for_what_comes_too_late():
    play = Play([later(429, "3600"), GOOD])
    with pytest.raises(errors.TooManyRequests):
        play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s))
    assert play.now_s < 101.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 501])
def test_answers_that_a_repeat_does_not_mend_are_not_repeated(status):
    play = Play([Response(status, {}, b'{"detail":"no","code":"c","hint":"h"}'), GOOD])
    with pytest.raises(errors.ApiError) as said:
        play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s))
    assert len(play.sent) == 1
    assert (said.value.what, said.value.code, said.value.hint) == ("no", "c", "h")
    assert said.value.status == status
    assert said.value.where == "POST /v1/decisions"


@pytest.mark.parametrize(
    ("found", "tries"),
    [(Lost("broke", sent=True), 1), (later(502), 1), (Lost("refused", sent=False), 2),
     (later(503), 2), (later(429), 2)],
)  # fmt: skip
def test_what_is_not_safe_is_repeated_only_if_nothing_was_done(found, tries):
    play = Play([found, Response(202, {}, b"{}")])
    request = Request("POST", "/v1/batches", repeatable=False)
    talk = exchange(request, Patience(), play.now_s + 30, play.now_s)
    if tries == 1:
        with pytest.raises(errors.ServerUnavailable):
            play.run(talk)
    else:
        assert play.run(talk).status == 202
    assert len(play.sent) == tries


def test_202_is_asked_for_where_it_says():
    taken = Response(202, {"location": "/v1/decisions/C-1"})
    pending = Response(404, {}, b'{"code":"no_such_claim"}')
    play = Play([taken, pending, later(503), Response(202, {}), GOOD])
    assert play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s)) == GOOD.content
    assert [each.path for each in play.sent] == ["/v1/decisions"] + ["/v1/decisions/C-1"] * 4


def test_a_claim_without_a_decision_in_time_has_none():
    taken = Response(202, {"location": "/v1/decisions/C-1"})
    play = Play([taken, *[Response(404, {}, b"{}")] * 1_000])
    with pytest.raises(errors.NotDecidedYet) as said:
        play.run(decide(CLAIM, 2.0, BASE, Patience(total_s=9.0), play.now_s))
    assert said.value.where == "GET /v1/decisions/C-1"
    assert play.now_s <= 109.0 + 1e-6
    assert len(play.sent) < 30, "polls slow down"


def test_a_dead_letter_found_while_polling_is_told():
    refused = Response(422, {}, b'{"detail":"refused","code":"future_time"}')
    play = Play([Response(202, {"location": "/v1/decisions/C-1"}), refused])
    with pytest.raises(errors.ClaimRefused) as said:
        play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s))
    assert said.value.code == "future_time"


@pytest.mark.parametrize(
    "location",
    ["https://elsewhere.test/v1/decisions/C-1", "//elsewhere.test/v1/decisions/C-1", "", "http://[",
     "http://claims.test/v1/decisions/C-1", "/other", "https://claims.test:8443/v1/x"],
)  # fmt: skip
def test_a_location_elsewhere_is_not_followed(location):
    assert path_of(location, BASE) is None
    play = Play([Response(202, {"location": location}), GOOD])
    with pytest.raises(errors.BadAnswer, match="where its decision"):
        play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s))
    assert len(play.sent) == 1


@pytest.mark.parametrize(
    "found",
    [Response(200, {}, b"<html>"), Response(206, {}, sealed("C-1")), Response(204, {}, b""),
     Response(301, {"location": "/x"}, b""),
     Response(200, {}, b"[]"), Response(200, {}, b"\xff")],
)  # fmt: skip
def test_what_is_no_decision_is_never_one(found):
    play = Play([found])
    with pytest.raises(errors.BadAnswer):
        play.run(decide(CLAIM, 2.0, BASE, Patience(), play.now_s))


@given(st.integers(400, 599), st.binary(max_size=200))
def test_errors_are_made_from_any_bytes(status, content):
    made = error_of(Request("GET", "/v1/models"), Response(status, {}, content))
    assert made.status == status
    assert made.what


def test_text_from_outside_is_made_harmless():
    content = b'{"detail":"\\u001b[31m' + b"x" * 10_000 + b'"}'
    made = error_of(Request("GET", "/v1/models"), Response(400, {}, content))
    assert len(made.what) <= 500
    assert "\x1b" not in str(made)


@pytest.mark.parametrize(
    "claim", [b"[]", b"", [1], 7, "text", {"x": object()}, {"a": {1, object()}}]
)
def test_what_is_no_claim_is_refused_before_anything_is_sent(claim):
    play = Play([GOOD])
    with pytest.raises(errors.UsageError):
        play.run(decide(claim, 2.0, BASE, Patience(), play.now_s))
    assert play.sent == []


def test_bytes_of_a_claim_are_sent_as_they_are():
    claim = b'\n {"claim_id": "C-1"}\n'
    play = Play([GOOD])
    play.run(decide(claim, 2.0, BASE, Patience(), play.now_s))
    assert play.sent[0].content == claim, "other bytes would be a conflict"


@pytest.mark.parametrize("count", [0, 257])
def test_too_many_claims_are_refused_before_anything_is_sent(count):
    with pytest.raises(errors.UsageError, match="at once"):
        Play([]).run(score([CLAIM] * count, None, Patience(), 0.0))


@pytest.mark.parametrize("text", ["", ".", "..", "\ud800"])
def test_ids_that_no_path_carries_are_refused(text):
    with pytest.raises(errors.UsageError):
        part(text)


@pytest.mark.parametrize("wait_s", [-1.0, float("nan")])
def test_a_wait_is_a_time(wait_s):
    with pytest.raises(errors.UsageError):
        Play([]).run(decide(CLAIM, wait_s, BASE, Patience(), 0.0))
