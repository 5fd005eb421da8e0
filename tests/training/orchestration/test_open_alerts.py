"""Alerts that are still open, worked out again from the drift records of the offline store."""

from __future__ import annotations

from monitoring.alerting.alert_book import AlertBook
from monitoring.layers.records import DriftRecord, Inputs, Outcome, RateDrift, Score
from training.orchestration.triggers import alerts_of

DAY = 86_400_000


def rate(drifted: bool) -> RateDrift:
    return RateDrift(0.2, 0.1, 5.0, 0.001, drifted)


def record(day: int, *, referrals: bool, frauds: bool) -> DriftRecord:
    """One window in which the referral rate or the fraud rate drifts."""
    return DriftRecord(
        model="auto/1", window_from_ms=day * DAY, window_to_ms=(day + 1) * DAY, n=500,
        reference_n=500, late=0, state="drift",
        inputs=Inputs("absent", 0, [], None),
        score=Score("drift" if referrals else "ok", None, rate(referrals)),
        outcome=Outcome("drift" if frauds else "ok", 300, rate(frauds)),
    )  # fmt: skip


def test_alerts_are_open_from_raised_to_cleared_with_the_ids_of_the_stream() -> None:
    drifts = [(True, False), (True, True), (True, True), (False, True), (False, True)]
    records = [record(day, referrals=r, frauds=f) for day, (r, f) in enumerate(drifts)]
    book = AlertBook(2, 3)
    streamed = [alert for each in records for alert in book.observe(each)]
    assert [(a.layer, a.state) for a in streamed] == [("score", "raised"), ("outcome", "raised")]
    assert alerts_of(records[:1], 2, 3) == []
    assert alerts_of(records[:2], 2, 3) == streamed[:1]
    assert alerts_of(records, 2, 3) == streamed
    calm = [record(day, referrals=False, frauds=True) for day in range(5, 8)]
    assert [a.alert_id for a in alerts_of([*records, *calm], 2, 3)] == [streamed[1].alert_id]
