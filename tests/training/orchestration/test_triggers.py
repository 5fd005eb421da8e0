"""Triggers: what asks for a run, what holds it back, and that nothing asks twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS, HOUR_MS
from claimtrace.settings.schema import PipelineSettings
from monitoring.layers.records import DriftAlert
from training.orchestration.triggers import Known, PastRun, decide, last_due_ms

NOW = 1_772_330_400_000  # 2026-03-01 02:00 UTC
PLAIN = PipelineSettings()


def alert(number: int, model: str = "auto/1") -> DriftAlert:
    return DriftAlert(
        alert_id=f"a{number}", model=model, layer="score", state="raised", since_ms=0, at_ms=NOW,
        subjects=["score"], text=f"score drifts ({number})", effects=[], hint="",
    )  # fmt: skip


RUNS = st.builds(
    PastRun,
    started_ms=st.integers(NOW - 9 * DAY_MS, NOW),
    is_done=st.booleans(),
    evidence=st.frozensets(st.sampled_from(["a0", "a1", "d2", "c2"]), max_size=2),
)
KNOWNS = st.builds(
    Known,
    champion=st.sampled_from(["", "auto/1"]),
    champion_made_ms=st.integers(0, NOW),
    champion_code=st.sampled_from(["", "c1"]),
    champion_definitions=st.sampled_from(["", "d1"]),
    code=st.sampled_from(["c1", "c2"]),
    definitions=st.sampled_from(["", "d1", "d2"]),
    new_labels=st.integers(0, 3000),
    new_frauds=st.integers(0, 60),
    alerts=st.lists(
        st.builds(alert, st.integers(0, 1), st.sampled_from(["auto/1", "auto/0"])), max_size=3
    ),
    runs=st.lists(RUNS, max_size=4),
)
SETTINGS = st.builds(
    PipelineSettings,
    schedule=st.sampled_from(["", "0 2 * * *", "30 4 * * 1", "*/5 * * * *"]),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    new_labels=st.sampled_from([0, 500, 1000]),
    on_alert=st.booleans(),
    on_change=st.booleans(),
    cool_down=st.sampled_from(["0s", "12h", "3d"]),
    least_new_frauds=st.sampled_from([0, 20]),
)


@given(KNOWNS, SETTINGS)
@settings(max_examples=300)
def test_what_fires_is_asked_for_and_free(known: Known, chosen: PipelineSettings) -> None:
    for each in decide(NOW, known, chosen):
        tried = {e for run in known.runs if run.is_done for e in run.evidence}
        if each.kind in ("alert", "code", "definitions"):
            assert each.evidence not in tried
            assert known.champion or each.kind == "alert"
        if each.kind == "alert":
            assert chosen.on_alert
            assert any(a.alert_id == each.evidence and a.model == known.champion
                       for a in known.alerts)  # fmt: skip
        if each.kind == "labels":
            assert 0 < chosen.new_labels <= known.new_labels
        if each.held or each.kind == "schedule":
            continue
        rests = {"0s": 0, "12h": 12 * HOUR_MS, "3d": 3 * DAY_MS}[chosen.cool_down]
        assert NOW - known.last_started_ms >= rests
        if each.kind in ("alert", "definitions"):
            assert known.new_frauds >= chosen.least_new_frauds


@given(KNOWNS, SETTINGS, st.booleans())
@settings(max_examples=200)
def test_a_run_that_came_to_its_end_answers_what_it_was_begun_for(
    known: Known, chosen: PipelineSettings, long_after: bool
) -> None:
    """Whatever fired doesn't fire again, unless it is about labels that are still not learned."""
    fired = [t for t in decide(NOW, known, chosen) if not t.held]
    if not fired:
        return
    run = PastRun(
        started_ms=NOW, is_done=True, evidence=frozenset(t.evidence for t in fired if t.evidence)
    )
    after = msgspec.structs.replace(known, runs=[*known.runs, run])
    later = NOW + (30 * DAY_MS if long_after else 1)
    again = {(t.kind, t.evidence) for t in decide(later, after, chosen) if not t.held}
    old = {(t.kind, t.evidence) for t in fired if t.kind != "labels"}
    assert not again & old


@given(KNOWNS, SETTINGS)
@settings(max_examples=100)
def test_the_same_is_decided_from_the_same(known: Known, chosen: PipelineSettings) -> None:
    assert decide(NOW, known, chosen) == decide(NOW, known, chosen)


@given(
    st.integers(0, 4 * 10**12),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
    st.integers(0, 23),
    st.integers(0, 59),
)
@settings(max_examples=100)
def test_a_daily_schedule_is_due_at_its_local_time(
    now_ms: int, zone: str, hour: int, minute: int
) -> None:
    due_ms = last_due_ms(f"{minute} {hour} * * *", zone, now_ms)
    assert due_ms is not None
    assert due_ms <= now_ms < due_ms + 26 * HOUR_MS
    local = datetime.fromtimestamp(due_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    moved = local.utcoffset() != (local - timedelta(days=1)).utcoffset()
    # on a day when the clocks change that time may not exist
    assert (local.hour, local.minute) == (hour, minute) or moved


def test_a_time_that_nobody_watched_is_made_up_for_once() -> None:
    daily = PipelineSettings(schedule="0 2 * * *", new_labels=0)
    last = PastRun(started_ms=NOW - 5 * DAY_MS, is_done=True)
    [due] = decide(NOW + HOUR_MS, Known(runs=[last]), daily)
    assert (due.kind, due.evidence, due.held) == ("schedule", "2026-03-01T02:00:00Z", "")
    ran = PastRun(started_ms=NOW + HOUR_MS, is_done=False)
    assert decide(NOW + 2 * HOUR_MS, Known(runs=[last, ran]), daily) == []
    assert len(decide(NOW + DAY_MS, Known(runs=[last, ran]), daily)) == 1


def test_the_schedule_does_not_wait_for_the_cool_down() -> None:
    often = PipelineSettings(schedule="0 * * * *", cool_down="9d", new_labels=0)
    known = Known(runs=[PastRun(started_ms=NOW - 1, is_done=True)])
    [due] = decide(NOW, known, often)
    assert not due.held


def test_reasons_to_wait_are_told() -> None:
    known = Known(champion="auto/1", alerts=[alert(0)], new_frauds=3)
    [few] = decide(NOW, known, PLAIN)
    assert few.held == "too few mature verdicts: 3 new frauds of 20"
    known = msgspec.structs.replace(
        known, new_frauds=99, runs=[PastRun(started_ms=NOW - HOUR_MS, is_done=True)]
    )
    [hot] = decide(NOW, known, PLAIN)
    assert hot.held == "cool-down until 2026-03-02 01:00 UTC"
    [free] = decide(NOW + DAY_MS, known, PLAIN)
    assert (free.held, free.words, free.evidence) == ("", "score drifts (0)", "a0")


def test_an_alert_whose_run_failed_is_tried_again_after_the_cool_down() -> None:
    failed = PastRun(started_ms=NOW - 2 * DAY_MS, is_done=False, evidence=frozenset({"a0"}))
    known = Known(champion="auto/1", alerts=[alert(0)], new_frauds=99, runs=[failed])
    assert [t.held for t in decide(NOW, known, PLAIN)] == [""]


@pytest.mark.parametrize("kind", ["code", "definitions"])
def test_a_change_asks_for_a_run_only_where_the_champions_is_known(kind: str) -> None:
    known = Known(champion="auto/1", new_frauds=99, **{kind: "new", f"champion_{kind}": "old"})
    assert [t.kind for t in decide(NOW, known, PLAIN)] == [kind]
    for same in ({f"champion_{kind}": ""}, {f"champion_{kind}": "new"}, {kind: ""}):
        assert decide(NOW, msgspec.structs.replace(known, **same), PLAIN) == []
