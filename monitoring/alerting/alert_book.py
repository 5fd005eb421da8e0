"""Alerts on lasting drift: raised once when m of the last n judged windows have drifted.

A single drifted window is often just a busy Monday; its record is written to `claims.drift` in any
case. State is kept for each model and layer, and drift is counted for each subject (a feature, the
score, a rate): two windows in which *different* features drift are not one lasting drift.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from claimtrace.errors import ConfigError, StateError
from claimtrace.ids import digest_of

from ..layers.records import (
    CLEARED,
    DRIFT,
    INPUTS,
    OK,
    OUTCOME,
    RAISED,
    SCORE,
    DriftAlert,
    DriftRecord,
)
from .wording import HINTS, began_text, effects_of, over_text

TOP_EFFECTS: Final = 5
"""Most effects described on one alert; the drift record has the others."""


class _Seen(msgspec.Struct, forbid_unknown_fields=True):
    """A judged window, and the subjects that drifted in it."""

    from_ms: int
    to_ms: int
    drifted: list[str]


class _Layer(msgspec.Struct, forbid_unknown_fields=True):
    """The last n judged windows of one layer, and its raised subjects with their start in ms."""

    seen: list[_Seen]
    raised: dict[str, int]


class AlertBook:
    """The state of all drift alerts: raises and clears alerts from drift records.

    A subject is raised when it drifted in `m` of the last `n` judged windows of its layer, and
    cleared when it drifted in none of them. Windows with too few rows aren't judged and don't
    count. Subjects that are raised (or cleared) by the same window and layer share one alert.

    Raises:
        ConfigError: unless 1 <= m <= n.

    >>> AlertBook.restore(2, 3, AlertBook(2, 3).state()).raised("auto_claims/1")
    {}
    """

    def __init__(self, m: int, n: int) -> None:
        if not 1 <= m <= n:
            raise ConfigError(
                f"an alert after {m} of {n} windows",
                where="drift.alert_m, drift.alert_n",
                hint="choose 1 <= alert_m <= alert_n",
            )
        self.m = m
        self.n = n
        self._models: dict[str, dict[str, _Layer]] = {}

    def observe(self, record: DriftRecord) -> list[DriftAlert]:
        """Take in the drift record of one window; returns the alerts that it raises and clears.

        Records of a model must be given in the order of time. A window that a layer has already
        seen, or an older one, changes nothing, so a repeated record is harmless.
        """
        effects = effects_of(record)
        states = {
            INPUTS: record.inputs.state,
            SCORE: record.score.state,
            OUTCOME: record.outcome.state,
        }
        alerts = []
        for name, state in states.items():
            if state in (OK, DRIFT):
                alerts += self._observe_layer(record, name, effects[name])
        return alerts

    def raised(self, model: str) -> dict[str, dict[str, int]]:
        """Return the subjects that are raised for a model: layer -> subject -> start in ms."""
        layers = self._models.get(model, {})
        return {name: dict(layer.raised) for name, layer in layers.items() if layer.raised}

    def retire(self, model: str, at_ms: int) -> list[DriftAlert]:
        """Drop a model that no longer scores; returns the alerts that clear its raised subjects."""
        return [
            _alert(model, name, CLEARED, at_ms, layer.raised, dict.fromkeys(layer.raised, ""))
            for name, layer in sorted(self._models.pop(model, {}).items())
            if layer.raised
        ]

    def state(self) -> dict[str, Any]:
        """Return the whole state as plain dicts and lists, for a snapshot."""
        plain: dict[str, Any] = msgspec.to_builtins(self._models)
        return plain

    @classmethod
    def restore(cls, m: int, n: int, state: dict[str, Any]) -> AlertBook:
        """Restore a book from the result of `state()`; m and n may have changed since.

        Raises:
            StateError: the state doesn't have the form of `state()`.
        """
        book = cls(m, n)
        try:
            book._models = msgspec.convert(state, dict[str, dict[str, _Layer]])
        except msgspec.ValidationError as error:
            raise StateError(
                f"not the state of drift alerts: {error}",
                where="snapshot",
                hint="start from an older snapshot",
            ) from error
        return book

    def _observe_layer(
        self, record: DriftRecord, name: str, effects: dict[str, str]
    ) -> list[DriftAlert]:
        layers = self._models.setdefault(record.model, {})
        layer = layers.setdefault(name, _Layer([], {}))
        if layer.seen and record.window_to_ms <= layer.seen[-1].to_ms:
            return []
        layer.seen.append(_Seen(record.window_from_ms, record.window_to_ms, list(effects)))
        del layer.seen[: -self.n]
        # A subject can only become raised by a window in which it drifted: the effects' order,
        # strongest first, is the order of the alert's subjects.
        raised = {}
        for subject in effects:
            hits = [seen.from_ms for seen in layer.seen if subject in seen.drifted]
            if len(hits) >= self.m and subject not in layer.raised:
                raised[subject] = hits[0]
        recent = {subject for seen in layer.seen for subject in seen.drifted}
        cleared = {s: at for s, at in sorted(layer.raised.items()) if s not in recent}
        layer.raised = {s: at for s, at in layer.raised.items() if s in recent} | raised
        at_ms = record.window_to_ms
        alerts = []
        if raised:
            texts = {subject: effects[subject] for subject in raised}
            alerts.append(_alert(record.model, name, RAISED, at_ms, raised, texts))
        if cleared:
            texts = dict.fromkeys(cleared, f"as in training for {len(layer.seen)} windows")
            alerts.append(_alert(record.model, name, CLEARED, at_ms, cleared, texts))
        return alerts


def _alert(
    model: str, layer: str, state: str, at_ms: int, since: dict[str, int], texts: dict[str, str]
) -> DriftAlert:
    """Build an alert; `since` maps subjects to their start in ms, `texts` to their effects."""
    subjects, since_ms = list(since), min(since.values())
    if state == RAISED:
        text = began_text(subjects, model, since_ms)
        hint = HINTS[layer]
    else:
        text = over_text(subjects, model, at_ms)
        hint = "nothing to do"
    return DriftAlert(
        alert_id=digest_of([model, layer, state, at_ms, subjects])[:32],
        model=model,
        layer=layer,
        state=state,
        since_ms=since_ms,
        at_ms=at_ms,
        subjects=subjects,
        text=text,
        effects=[f"{s}: {texts[s]}" for s in subjects[:TOP_EFFECTS] if texts[s]],
        hint=hint,
    )
