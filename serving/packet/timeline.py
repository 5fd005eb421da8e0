"""The timeline of a packet: what happened to the claim's entities, the model and the decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from training.page.markup import Markup, element

from .sections import Part, moment

MOST_EVENTS: Final = 80
"""Events that are printed, the newest ones."""


def timeline(part: Part) -> Markup:
    """List the events behind the decision, the oldest first."""
    events = sorted(dict.fromkeys(_events(part)))
    left = len(events) - MOST_EVENTS
    items = [
        element("li", element("b", moment(at_ms)), f" {what}")
        for at_ms, what in events[-MOST_EVENTS:]
    ]
    if left > 0:
        items.insert(0, element("li", f"{left:,} earlier events", class_="soft"))
    return element("section", element("h2", "Timeline"), element("ul", *items, class_="timeline"))


def _events(part: Part) -> Iterator[tuple[int, str]]:
    """Yield times and what happened then; an event that several features counted is repeated."""
    found, profile = part.evidence, part.profile
    yield found.event_time_ms, f"claim {found.claim_id} happened as it says"
    yield found.known_time_ms, f"claim {found.claim_id} was on the log and was decided"
    for feature in found.features:
        for row in feature.rows:
            if row.is_current:
                continue
            name = f"claim {row.claim_id}" if profile.others else "another claim"
            if row.kind == "profile":
                name = f"change {row.claim_id}" if profile.others else "a change"
                yield row.event_time_ms, f"{name} of a profile"
            elif row.kind == "label" and profile.others:
                yield row.known_time_ms, f"outcome of {name}: {row.outcome or 'none'}"
            elif row.kind == "label":
                yield row.known_time_ms, f"an outcome of {name} arrived"
            else:
                yield row.event_time_ms, name
                if row.outcome and row.outcome_known_ms is not None and profile.others:
                    yield row.outcome_known_ms, f"outcome of {name}: {row.outcome}"
    if found.model is not None:
        for act in found.model.acts:
            who = f" by {act.actor}: {act.reason}" if profile.people else ""
            yield act.at_ms, f"{found.model.ref.label}: {act.act}{who}"
