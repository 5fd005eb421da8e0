"""Triggers: when a pipeline is to be run without a person, and what holds it back.

A trigger opens a training, never a release: the gate decides about the new version, as always. All
that is remembered stands in the records of earlier runs and in the registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

from claimtrace.clock import duration_ms
from claimtrace.settings.schema import PipelineSettings
from monitoring.alerting.alert_book import AlertBook
from monitoring.layers.records import CLEARED, RAISED, DriftAlert, DriftRecord

TriggerKind = Literal["schedule", "labels", "alert", "definitions", "code"]


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """A reason to run the pipeline.

    Attributes:
        kind: what has happened.
        words: the reason in a sentence.
        evidence: the scheduled time, the id of the alert, or the digest that is new.
        held: why it doesn't start a run yet; empty: it does.
    """

    kind: TriggerKind
    words: str
    evidence: str = ""
    held: str = ""


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about an earlier run that triggers depend on."""

    started_ms: int
    is_done: bool
    evidence: frozenset[str] = frozenset()


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that triggers are decided by.

    Attributes:
        champion: the label of the version in charge; empty: there is none.
        champion_made_ms: when it was published.
        champion_code, champion_definitions: digests that it was made with; empty: not known.
        code, definitions: the digests now; `definitions` are those of the newest decisions.
        new_labels, new_frauds: claims with a mature verdict, under the definitions of now, that
            the champion hasn't learned from.
        alerts: alerts about the champion that are raised and not over.
        runs: earlier runs.
    """

    champion: str = ""
    champion_made_ms: int = 0
    champion_code: str = ""
    champion_definitions: str = ""
    code: str = ""
    definitions: str = ""
    new_labels: int = 0
    new_frauds: int = 0
    alerts: Sequence[DriftAlert] = ()
    runs: Sequence[PastRun] = ()

    @property
    def last_started_ms(self) -> int:
        """When a run was last begun, or the champion made; 0: never."""
        return max([self.champion_made_ms, *(run.started_ms for run in self.runs)])

    def was_tried(self, evidence: str, *, done: bool) -> bool:
        """Whether an earlier run was begun for some evidence (and came to its end)."""
        return any(evidence in run.evidence and (run.is_done or not done) for run in self.runs)


def decide(now_ms: int, known: Known, settings: PipelineSettings) -> list[Trigger]:
    """Return what speaks for a run now; one with an empty `held` is enough to begin.

    The schedule waits for nothing. The others wait for the cool-down since the last run, an alert
    and new definitions for enough new frauds among the mature verdicts too. A run that came to its
    end answers an alert, a change of code or of definitions once and for all.
    """
    found = _by_schedule(now_ms, known, settings)
    others: list[Trigger] = []
    if settings.new_labels and known.new_labels >= settings.new_labels:
        words = f"{known.new_labels:,} new mature verdicts; {settings.new_labels:,} are asked for"
        others.append(Trigger(kind="labels", words=words))
    if settings.on_alert:
        others += [
            Trigger(kind="alert", words=alert.text, evidence=alert.alert_id)
            for alert in known.alerts
            if alert.model == known.champion and not known.was_tried(alert.alert_id, done=True)
        ]
    if settings.on_change and known.champion:
        others += _by_change(known)
    return found + [_held(each, now_ms, known, settings) for each in others]


def _by_schedule(now_ms: int, known: Known, settings: PipelineSettings) -> list[Trigger]:
    due_ms = last_due_ms(settings.schedule, settings.time_zone, now_ms)
    if due_ms is None or due_ms <= known.last_started_ms:
        return []
    moment = datetime.fromtimestamp(due_ms / 1000, UTC)
    return [Trigger(kind="schedule", words=f"scheduled for {moment:%Y-%m-%d %H:%M} UTC",
                    evidence=f"{moment:%Y-%m-%dT%H:%M:%SZ}")]  # fmt: skip


def last_due_ms(schedule: str, time_zone: str, now_ms: int) -> int | None:
    """Return the last time of a cron schedule until now; None without a schedule.

    >>> last_due_ms("0 2 * * *", "Europe/Berlin", 1_772_330_400_000)  # 2026-03-01 02:00 UTC
    1772326800000
    """
    if not schedule:
        return None
    moment = datetime.fromtimestamp(now_ms // 1000, UTC).astimezone(ZoneInfo(time_zone))
    # in reverse the moment itself isn't among the times
    due = next(CronSim(schedule, moment + timedelta(seconds=1), reverse=True), None)
    return None if due is None else round(due.timestamp() * 1000)


def _by_change(known: Known) -> list[Trigger]:
    pairs: tuple[tuple[TriggerKind, str, str, str], ...] = (
        ("definitions", known.definitions, known.champion_definitions,
         f"{known.champion} was trained under other definitions than those of the newest claims"),
        ("code", known.code, known.champion_code, f"{known.champion} was trained by other code"),
    )  # fmt: skip
    return [
        Trigger(kind=kind, words=words, evidence=now)
        for kind, now, before, words in pairs
        if now and before and now != before and not known.was_tried(now, done=True)
    ]


def _held(trigger: Trigger, now_ms: int, known: Known, settings: PipelineSettings) -> Trigger:
    """Return the trigger with the reason for which it has to wait, if there is one."""
    again_ms = known.last_started_ms + duration_ms(settings.cool_down)
    if known.last_started_ms and now_ms < again_ms:
        until = datetime.fromtimestamp(again_ms / 1000, UTC)
        return msgspec.structs.replace(trigger, held=f"cool-down until {until:%Y-%m-%d %H:%M} UTC")
    needs_frauds = trigger.kind in ("alert", "definitions")
    if needs_frauds and known.new_frauds < settings.least_new_frauds:
        few = f"{known.new_frauds} new frauds of {settings.least_new_frauds}"
        return msgspec.structs.replace(trigger, held=f"too few mature verdicts: {few}")
    return trigger


def alerts_of(records: Sequence[DriftRecord], m: int, n: int) -> list[DriftAlert]:
    """Return the alerts that are raised and not over, as the stream has raised them.

    Args:
        records: the drift records of one model, in the order of time.
        m, n: the stream's `drift.alert_m` and `drift.alert_n`.
    """
    book = AlertBook(m, n)
    raised: list[tuple[DriftAlert, set[str]]] = []
    for record in records:
        for alert in book.observe(record):
            if alert.state == RAISED:
                raised.append((alert, set(alert.subjects)))
            elif alert.state == CLEARED:
                for earlier, left in raised:
                    if earlier.layer == alert.layer:
                        left.difference_update(alert.subjects)
    return [alert for alert, left in raised if left]
